"""Programs that run a model on TensorFlow Lite Micro on an emulated core, through semihosting."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from variant_parallelism._paths import firmware_dir
from variant_parallelism.errors import VpError
from variant_parallelism.firmware.tflm_checkout import CXX, TflmCheckout, check_cxx
from variant_parallelism.firmware.tflm_model import TflmModel

if TYPE_CHECKING:
    from vp_converters.bench.footprint import Footprint
    from vp_converters.target import Machine

_CXX_FLAGS = (
    *("-std=c++17", "-fno-rtti", "-fno-exceptions", "-fno-threadsafe-statics"),
    *("-Wall", "-Wextra", "-Werror"),
)

# The emulated board whose core runs the code of each processor.
_MACHINES = {
    "cortex-m0": "mps2-an386",
    "cortex-m0plus": "mps2-an386",
    "cortex-m3": "mps2-an386",
    "cortex-m4": "mps2-an386",
    "cortex-m7": "mps2-an500",
    "cortex-m33": "mps3-an547",
    "cortex-m55": "mps3-an547",
}
_SPARE = 4096
_RUN_LIMIT_S = 600.0
_PART = 10
"""Inputs that one run of the program takes, so that none takes long."""


@dataclass(frozen=True, eq=False)
class TflmMeasurement:
    """What a run on an emulated core gave.

    Attributes:
        outputs, again: int8, one flat row an input: of the inference that was counted as a whole,
            and of the one that was counted operator by operator.
        setup: instructions that starting the interpreter takes, once in a board's life.
        instructions: of each inference.
        operators: instructions of each operator, all inferences together; all 0 with a library
            that was built with BUILD_TYPE=release.
        stack: bytes, of an inference.
        footprint: the model and the runtime linked alone; the arena is not in it.
    """

    outputs: NDArray[np.int8]
    again: NDArray[np.int8]
    setup: int
    instructions: NDArray[np.int64]
    operators: NDArray[np.int64]
    stack: int
    footprint: Footprint


class TflmProgram:
    """A model on a checkout's library for one processor.

    Args:
        cpu_flags: as in board.toml.

    Raises:
        VpError: there is no library for the processor, no emulated core, or no compiler.
    """

    def __init__(self, model: TflmModel, checkout: TflmCheckout, cpu_flags: str) -> None:
        check_cxx()
        self.model = model
        self.checkout = checkout
        self.library = checkout.library(cpu_flags)
        self.machine = _machine(cpu_flags)

    def measure_arena(self) -> int:
        """Bytes of the smallest arena found in which a whole inference succeeds.

        VpError with the runtime's own message if it refuses the model.
        """
        room = self.machine.arena_bytes - self.model.input.size - self.model.output.size - _SPARE
        with tempfile.TemporaryDirectory(prefix="vp-tflm-") as temporary:
            work = Path(temporary)
            self._build(work, "measure.c", room, {"OUTPUT_SIZE": f"{self.model.output.size}u"})
            self._run(work, count=False)
            return int((work / "arena.txt").read_text())

    def run(
        self,
        inputs: NDArray[np.int8],
        arena: int,
        progress: Callable[[int], None] | None = None,
    ) -> TflmMeasurement:
        """Run inputs (along the first axis, at least one) in an arena of so many bytes.

        `progress` is called with the number of inputs done since the last call.
        """
        from vp_converters.bench.footprint import footprint
        from vp_converters.target.program import link_alone

        defines = {"OPERATORS": f"{len(self.model.operators)}u"}
        outputs, counts = [], []
        with tempfile.TemporaryDirectory(prefix="vp-tflm-") as temporary:
            work = Path(temporary)
            objects = self._build(work, "bench.c", arena, defines)
            for start in range(0, len(inputs), _PART):
                part = np.ascontiguousarray(inputs[start : start + _PART])
                (work / "inputs.bin").write_bytes(part.tobytes())
                self._run(work, count=True)
                rows = np.fromfile(work / "outputs.bin", dtype=np.int8)
                outputs.append(rows.reshape(len(part), 2, self.model.output.size))
                counts.append(np.fromfile(work / "counts.bin", dtype="<u8").astype(np.int64))
                if progress is not None:
                    progress(len(part))
            link_alone(work, self.machine, objects, "vp_tflm_alone", "alone.elf")
            parts = footprint((work / "alone.elf").read_bytes())
        both = np.concatenate(outputs)
        operators = len(self.model.operators)
        return TflmMeasurement(
            outputs=both[:, 0],
            again=both[:, 1],
            setup=int(counts[0][0]),
            instructions=np.concatenate([part[2:-operators] for part in counts]),
            operators=np.sum([part[-operators:] for part in counts], axis=0),
            stack=int(counts[0][1]),
            footprint=parts,
        )

    def _build(self, work: Path, main: str, arena: int, defines: Mapping[str, str]) -> list[str]:
        """Builds program.elf; the objects and libraries of a program without a main, start-up
        and files on the host."""
        from vp_converters import ConversionError
        from vp_converters.target.program import compile_sources, link_program

        model, folder = self.model, firmware_dir()
        model.write(work, self.checkout, arena)
        (work / "vp").symlink_to(folder / "include" / "vp")
        for name in ("vp_tflm.h", "model.cc", "on_host.c", "alone.c", main):
            (work / name).symlink_to(folder / "tflm" / name)
        values = {
            "MODEL": model.name,
            "ARENA_SIZE": f"{arena}u",
            "INPUT_SIZE": f"{model.input.size}u",
            **defines,
        }
        macros = [f"VP_BENCH_{name}={value}" for name, value in values.items()]
        sources = [main, "on_host.c", *self.machine.sources, "alone.c", f"{model.name}.c"]
        try:
            self.machine.check_tools()
            objects = compile_sources(work, self.machine, sources, macros)
            shared = [objects[-1], *self._cxx(work)]
            shared += [str(self.library.path), "-lstdc++", "-lm"]
            link_program(work, self.machine, [*objects[:-2], *shared])
        except ConversionError as error:
            raise VpError(str(error)) from None
        return [objects[-2], *shared]

    def _cxx(self, work: Path) -> list[str]:
        """Compiles what is C++, and the model's file; the objects' names."""
        folder = firmware_dir()
        includes = [folder / "include", folder / "tflm"]
        flags = [*self.machine.flags, *_CXX_FLAGS, *(f"-D{d}" for d in self.library.definitions)]
        flags += [text for path in includes for text in ("-I", str(path))]
        for path in self.checkout.include_dirs:
            flags += ["-isystem", str(path)]
        try:
            for name in ("model.cc", "operators.cc"):
                source = (work / name).read_text(encoding="utf-8")
                (work / f"{name}.o").write_bytes(_object(tuple(flags), source))
            _compile([*self.machine.flags, "-o", "file.o", "file.S"], work)
        except _CompilerError as error:
            raise VpError(f"{self.checkout.root} does not suit this version: {error}") from None
        return ["model.cc.o", "operators.cc.o", "file.o"]

    def _run(self, work: Path, count: bool) -> None:
        from vp_converters import ConversionError
        from vp_converters.target.program import run_program

        try:
            run_program(work, self.machine, count, _RUN_LIMIT_S)
        except ConversionError as error:
            log = work / "log.txt"
            said = log.read_text(errors="replace").splitlines() if log.is_file() else []
            message = next((line.strip() for line in said if line.strip()), str(error))
            raise VpError(f"TensorFlow Lite Micro refuses it: {message}") from None


class _CompilerError(Exception):
    """Its text is the compiler's first complaint."""


@lru_cache(maxsize=8)
def _object(flags: tuple[str, ...], source: str) -> bytes:
    """The object of some C++; the runtime's headers take their time, once in a process."""
    with tempfile.TemporaryDirectory(prefix="vp-tflm-") as temporary:
        work = Path(temporary)
        (work / "source.cc").write_text(source, encoding="utf-8")
        _compile([*flags, "-o", "object.o", "source.cc"], work)
        return (work / "object.o").read_bytes()


def _compile(arguments: Sequence[str], work: Path) -> None:
    command = [CXX, *arguments, "-c"]
    result = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = [line for line in result.stderr.splitlines() if "rror" in line]
        raise _CompilerError((lines or [f"{CXX} failed"])[0])


def _machine(cpu_flags: str) -> Machine:
    from vp_converters.target import BOARDS

    cpus = [f.removeprefix("-mcpu=") for f in cpu_flags.split() if f.startswith("-mcpu=")]
    name = _MACHINES.get(cpus[-1].split("+")[0]) if cpus else None
    if name is None:
        raise VpError(f"no emulated core runs code for {cpu_flags!r}, to measure the arena on")
    flags = ("-O2", *cpu_flags.split(), "-ffunction-sections", "-fdata-sections")
    return replace(BOARDS[name], flags=flags)
