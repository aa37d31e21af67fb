"""C identifiers from file names."""

from __future__ import annotations

import re

from vp_converters.errors import ConversionError

_IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}")

_RESERVED = frozenset(
    """
    auto break case char const continue default do double else enum extern float for goto if inline
    int long register restrict return short signed sizeof static struct switch typedef union unsigned
    void volatile while alignas alignof asm atomic bool class complex constexpr delete explicit export
    false friend imaginary mutable namespace new noreturn nullptr operator private protected public
    register template this thread_local throw true try typeid typename typeof using virtual
    main errno stdin stdout stderr abort abs acos asin atan atexit atof atoi atol bsearch calloc cabs
    calloc carg cbrt ceil clock conj copysign cos cosh creal cproj ctime difftime div erf erfc exit exp
    exp2 expm1 fabs fclose fdim feof ferror fflush fgetc fgets floor fma fmax fmin fmod fopen fprintf
    fputc fputs fread free freopen frexp fscanf fseek fsetpos ftell fwrite getc getchar getenv gets
    gmtime hypot ilogb index isalnum isalpha iscntrl isdigit isgraph islower isprint ispunct isspace
    isupper isxdigit labs ldexp ldiv lgamma llabs lldiv localtime log log10 log1p log2 logb longjmp
    lrint lround malloc mblen memchr memcmp memcpy memmove memset mktime modf nan nearbyint nextafter
    perror pow printf putc putchar puts qsort raise rand realloc remainder remove remquo rename rewind
    rint round scanf setbuf setjmp setlocale setvbuf signal sin sinh sprintf sqrt srand sscanf strcat
    strchr strcmp strcoll strcpy strcspn strdup strerror strftime strlen strncat strncmp strncpy
    strpbrk strrchr strspn strstr strtod strtok strtol strtoul strxfrm system tan tanh tgamma time
    tmpfile tmpnam tolower toupper trunc ungetc unix linux arm vfprintf vprintf vsprintf y0 y1 yn j0 j1
    jn gamma
    """.split()
)


def identifier_from(stem: str) -> str:
    """A C identifier for any file name stem: lower case, never reserved, never in vp_'s namespace."""
    name = re.sub(r"[^a-z0-9]+", "_", stem.lower().encode("ascii", "replace").decode()).strip("_")
    name = name[:48].rstrip("_")
    if not name:
        return "model"
    if name[0].isdigit() or name.startswith("vp_"):
        name = f"model_{name}"
    if not _usable(name):
        name = f"{name}_model"
    return name


def check_identifier(name: str) -> str:
    """``name`` itself.

    Raises:
        ConversionError: it cannot name a C object.
    """
    if not _IDENTIFIER.fullmatch(name) or not _usable(name) or name.startswith("vp_"):
        raise ConversionError(f"{name!r} cannot be the name of a C object: choose another --name")
    return name


def _usable(name: str) -> bool:
    return name not in _RESERVED and not name.endswith("_t")
