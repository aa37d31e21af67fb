"""The user's own checkout of TensorFlow Lite Micro: its headers, operators and built library.

Nothing of it is part of this package. Its own Makefile makes the library, for target
cortex_m_generic, which is its way into other projects.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from variant_parallelism.errors import VpError

REPOSITORY = "https://github.com/tensorflow/tflite-micro"
CXX = "arm-none-eabi-g++"
_MAKEFILE = "tensorflow/lite/micro/tools/make/Makefile"
_DOWNLOADS = "tensorflow/lite/micro/tools/make/downloads"
_INTERPRETER = "tensorflow/lite/micro/micro_interpreter.h"
_RESOLVER = "tensorflow/lite/micro/micro_mutable_op_resolver.h"
_KERNEL_HEADERS = "tensorflow/lite/micro/kernels/*.h"
_HOW_TO_BUILD = "tensorflow/lite/micro/cortex_m_generic/README.md"
_LIBRARIES = "gen/cortex_m_generic_*_gcc/lib/libtensorflow-microlite.a"

# Headers that the runtime's own headers include, by the name of the download.
_THIRD_PARTY = {
    "flatbuffers": "flatbuffers/include",
    "gemmlowp": "gemmlowp",
    "ruy": "ruy",
}

_FOLDER = re.compile(
    r"cortex_m_generic_(?P<arch>[^_]+)_"
    r"(?P<build>default|debug|release_with_logs|release)(?:_(?P<kernels>\w+))?_gcc"
)
# From what serves best to what serves least: a release never says what it runs, so that nothing
# feeds the watchdog between its operators.
_BUILDS = ("release_with_logs", "default", "debug", "release")
_DEFINITIONS = {
    "release_with_logs": ("NDEBUG",),
    "release": ("NDEBUG", "TF_LITE_STRIP_ERROR_STRINGS"),
}

_ADD_METHOD = re.compile(r"TfLiteStatus\s+(Add\w+)\(([^{]*)\)\s*\{(.*?)\n  \}", re.DOTALL)
_BUILTIN = re.compile(r"AddBuiltin\(\s*(?:tflite::)?BuiltinOperator_(\w+)")
_CUSTOM = re.compile(r'AddCustom\(\s*"([^"]+)"')
_INT8 = re.compile(r"TFLMRegistration Register_(\w+)_INT8\(\)")


@dataclass(frozen=True)
class TflmLibrary:
    """A library that the checkout's Makefile made.

    Attributes:
        kernels: "CMSIS-NN", "reference", or the folder of other optimized kernels.
        definitions: macros that its headers must see as they saw them when it was made.
    """

    path: Path
    kernels: str
    definitions: tuple[str, ...]


@dataclass(frozen=True)
class TflmMethod:
    """How the resolver gets an operator.

    Attributes:
        name: "AddConv2D".
        int8: the argument that brings the kernels for int8 alone, which are smaller: "", if there
            is none, or "tflite::Register_CONV_2D_INT8()".
    """

    name: str
    int8: str = ""


@dataclass(frozen=True)
class TflmCheckout:
    """A checkout that open_checkout found whole."""

    root: Path

    @property
    def include_dirs(self) -> list[Path]:
        """Where its headers are searched."""
        downloads = self.root / _DOWNLOADS
        return [self.root, *(downloads / folder for folder in _THIRD_PARTY.values())]

    @cached_property
    def operators(self) -> Mapping[str, TflmMethod]:
        """The resolver's method for each operator, by its TFLite name; a custom operator is
        "CUSTOM <name>"."""
        text = (self.root / _RESOLVER).read_text(encoding="utf-8", errors="replace")
        kernels = sorted(self.root.glob(_KERNEL_HEADERS))
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in kernels]
        int8 = {kind for header in texts for kind in _INT8.findall(header)}
        methods: dict[str, TflmMethod] = {}
        for method, parameters, body in _ADD_METHOD.findall(text):
            if parameters.strip() and "=" not in parameters:
                continue
            if builtin := _BUILTIN.search(body):
                kind = builtin.group(1)
                special = kind in int8 and "registration" in parameters
                argument = f"tflite::Register_{kind}_INT8()" if special else ""
                methods[kind] = TflmMethod(method, argument)
            elif custom := _CUSTOM.search(body):
                methods[f"CUSTOM {custom.group(1)}"] = TflmMethod(method)
        return methods

    def library(self, cpu_flags: str) -> TflmLibrary:
        """The library for a processor, with CMSIS-NN kernels if there is one.

        Args:
            cpu_flags: as in board.toml.

        Raises:
            VpError: none was made for it yet.
        """
        arch = target_arch(cpu_flags)
        found: list[tuple[bool, int, Path, re.Match[str]]] = []
        for path in sorted(self.root.glob(_LIBRARIES)):
            match = _FOLDER.fullmatch(path.parents[1].name)
            if match is not None and match["arch"] == arch:
                rank = _BUILDS.index(match["build"])
                found.append((match["kernels"] != "cmsis_nn", rank, path, match))
        if not found:
            raise VpError(
                f"{self.root} has no library for {arch} yet: {_HOW_TO_BUILD} in it says how to "
                f"make one, with TARGET_ARCH={arch} and, for CMSIS-NN kernels, "
                "OPTIMIZED_KERNEL_DIR=cmsis_nn"
            )
        *_, path, match = min(found, key=lambda entry: entry[:2])
        kernels = match["kernels"]
        names = {None: "reference", "cmsis_nn": "CMSIS-NN"}
        definitions = ["TF_LITE_STATIC_MEMORY", *_DEFINITIONS.get(match["build"], ())]
        if kernels is not None:
            definitions.append(kernels.upper())
        return TflmLibrary(path, names.get(kernels, kernels), tuple(definitions))


def open_checkout(path: Path | None) -> TflmCheckout:
    """The checkout at `path`; VpError says what is missing and where to get it."""
    if path is None:
        raise VpError(
            "the tflm runtime needs --tflm-path, your checkout of TensorFlow Lite Micro: "
            f"git clone {REPOSITORY}, then make -f {_MAKEFILE} third_party_downloads in it"
        )
    root = path.expanduser().resolve()
    for name in (_INTERPRETER, _RESOLVER, _MAKEFILE):
        if not (root / name).is_file():
            raise VpError(
                f"{path} is not a checkout of TensorFlow Lite Micro, it has no {name}: "
                f"git clone {REPOSITORY}"
            )
    for name, folder in _THIRD_PARTY.items():
        if not (root / _DOWNLOADS / folder).is_dir():
            raise VpError(
                f"the checkout {path} is without its download {name}: run "
                f"make -f {_MAKEFILE} third_party_downloads in it"
            )
    return TflmCheckout(root)


def target_arch(cpu_flags: str) -> str:
    """What the checkout's Makefile calls a processor: "cortex-m4+fp".

    Raises:
        VpError: the flags name no Cortex-M.
    """
    flags = cpu_flags.split()
    cpus = [flag.removeprefix("-mcpu=") for flag in flags if flag.startswith("-mcpu=cortex-m")]
    if not cpus:
        raise VpError(f"TensorFlow Lite Micro has no library for processor flags {cpu_flags!r}")
    if cpus[-1] in ("cortex-m4", "cortex-m7") and "-mfloat-abi=hard" in flags:
        return f"{cpus[-1]}+fp"
    return cpus[-1]


def check_cxx() -> None:
    """VpError that names the Debian package if the C++ compiler or its library is missing."""
    if shutil.which(CXX) is None:
        raise VpError(f"{CXX} is not installed: install Debian package gcc-arm-none-eabi")
    found = subprocess.run(
        [CXX, "-print-file-name=libstdc++.a"], capture_output=True, text=True, check=False
    )
    if not Path(found.stdout.strip()).is_absolute():
        raise VpError(
            f"{CXX} has no C++ library: install Debian package libstdc++-arm-none-eabi-newlib"
        )
