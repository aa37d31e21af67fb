"""Writes the C source of `variant_parallelism._native`: cffi bindings of the firmware's headers
and of those beside it in `native`.

The declarations are read out of the headers themselves by the C preprocessor, so there is no second
copy of them to drift. With `--inplace` the extension is also compiled beside the package, for work
on a checkout without installing it.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from cffi import FFI

ROOT = Path(__file__).resolve().parent.parent
FIRMWARE = ROOT / "firmware"
INCLUDE = FIRMWARE / "include"
NATIVE = ROOT / "python" / "native"
INCLUDES = [INCLUDE, NATIVE]
HEADERS = [
    "vp/wire.h",
    "vp/provision.h",
    "vp/topk.h",
    "vp/resize.h",
    "vp/pattern.h",
    "vp_gate.h",
    "vp_virtual.h",
    "vp_bare.h",
]
SOURCE_FOLDERS = [FIRMWARE / "wire", FIRMWARE / "topk", FIRMWARE / "image", NATIVE]
_CONSTANT = re.compile(
    r"^#define[ \t]+(VP_[A-Z0-9_]+)[ \t]+\(?(?:0x[0-9A-Fa-f]+|\d+)[uU]?\)?(?=\s|$)", re.MULTILINE
)


def declarations(compiler: str) -> str:
    """The C declarations of all headers, preprocessed, with the plain integer constants."""
    search = [argument for folder in INCLUDES for argument in ("-I", str(folder))]
    with tempfile.TemporaryDirectory() as empty:
        for name in ("stdint.h", "stddef.h", "stdbool.h"):
            Path(empty, name).touch()
        umbrella = "".join(f'#include "{header}"\n' for header in HEADERS)
        result = subprocess.run(
            [compiler, "-E", "-P", "-nostdinc", "-I", empty, *search, "-"],
            input=umbrella,
            capture_output=True,
            text=True,
            check=True,
        )
    constants = {
        name for header in HEADERS for name in _CONSTANT.findall(_header(header).read_text())
    }
    return "".join(f"#define {name} ...\n" for name in sorted(constants)) + result.stdout


def _header(name: str) -> Path:
    return next(folder / name for folder in INCLUDES if (folder / name).exists())


def builder(compiler: str) -> FFI:
    """The cffi builder, ready to emit or to compile."""
    ffi = FFI()
    ffi.cdef(declarations(compiler))
    return ffi


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", default="cc")
    parser.add_argument("--inplace", action="store_true")
    parser.add_argument("output", nargs="?", type=Path)
    arguments = parser.parse_args()
    ffi = builder(arguments.compiler)
    preamble = "".join(f'#include "{header}"\n' for header in HEADERS)
    if arguments.inplace:
        sources = [str(path) for folder in SOURCE_FOLDERS for path in folder.glob("*.c")]
        ffi.set_source(
            "variant_parallelism._native",
            preamble,
            sources=sources,
            include_dirs=[str(folder) for folder in INCLUDES],
            extra_compile_args=["-O2", "-ffp-contract=off"],
        )
        with tempfile.TemporaryDirectory() as folder:
            built = Path(ffi.compile(tmpdir=folder))
            target = ROOT / "python" / "variant_parallelism" / built.name
            # A process that has the old one loaded keeps its file.
            partial = target.with_name(target.name + ".part")
            partial.write_bytes(built.read_bytes())
            partial.replace(target)
        print(target)
    elif arguments.output is not None:
        ffi.set_source("variant_parallelism._native", preamble)
        ffi.emit_c_code(str(arguments.output))
    else:
        sys.exit("native_build.py: name an output file, or --inplace")


if __name__ == "__main__":
    main()
