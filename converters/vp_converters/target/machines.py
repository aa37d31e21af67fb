"""Where compiled models run: emulated boards, and this machine under sanitizers."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vp_converters.errors import ConversionError

FOLDER = Path(__file__).parent

# QEMU lets an instruction take 2**shift ns. The counters tick every 31.25 or 40 ns: with 128 ns an
# instruction none is lost.
_ICOUNT_SHIFT = 7


@dataclass(frozen=True)
class Machine:
    """Where a program runs.

    Attributes:
        name: as QEMU calls it.
        core: the processor.
        tools: programs it needs, each with the Debian packages that hold it; the first is the
            compiler.
        flags: for compiling and linking.
        library, script: for linking a program that runs on the machine: the C library's variant,
            and where things stand.
        sources: C files of this folder that it needs beside a main program.
        run: the command that runs program.elf.
        count: more arguments that make its counter count instructions.
        instruction_ps, tick_ps: picoseconds that an instruction then takes, and a step of the
            counter.
        code_bytes, arena_bytes: memory for code and constants, and for an arena.
        kernels: what its instruction set can run, best first.
    """

    name: str
    core: str
    tools: Mapping[str, str]
    flags: Sequence[str]
    library: Sequence[str]
    script: Sequence[str]
    sources: Sequence[str]
    run: Sequence[str]
    count: Sequence[str] = ()
    instruction_ps: int = 0
    tick_ps: int = 0
    code_bytes: int = 4 << 20
    arena_bytes: int = 16 << 20
    kernels: Sequence[str] = ("portable",)

    @property
    def compiler(self) -> str:
        """The C compiler's name."""
        return next(iter(self.tools))

    def check_tools(self) -> None:
        """ConversionError that names the Debian packages of the first tool that is missing."""
        for tool, package in self.tools.items():
            if shutil.which(tool) is None:
                raise ConversionError(f"{tool} not found: apt install {package}")

    def check_size(self, constants: int, arena: int) -> None:
        """ConversionError if so many bytes do not fit, before a compiler labours over them."""
        parts = (("constants", constants, self.code_bytes), ("arena", arena, self.arena_bytes))
        for what, size, room in parts:
            if size > room:
                raise ConversionError(
                    f"too large for {self.name}: {what} of {size:,} bytes, it has room for {room:,}"
                )


def _board(
    name: str,
    core: str,
    flags: str,
    tick_ps: int,
    kernels: Sequence[str],
    code_bytes: int = 4 << 20,
) -> Machine:
    return Machine(
        name=name,
        core=core,
        tools={
            "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
            "qemu-system-arm": "qemu-system-arm",
        },
        flags=("-O2", *flags.split(), "-ffunction-sections", "-fdata-sections"),
        library=("-nostartfiles", "--specs=rdimon.specs"),
        script=("-Wl,--gc-sections", "-L", str(FOLDER), "-T", f"{name}.ld"),
        sources=("start.c",),
        run=(
            *("qemu-system-arm", "-M", name, "-kernel", "program.elf", "-net", "none"),
            *("-display", "none", "-serial", "none", "-monitor", "none"),
            *("-semihosting-config", "enable=on,target=native"),
        ),
        count=("-icount", f"shift={_ICOUNT_SHIFT}"),
        instruction_ps=1000 << _ICOUNT_SHIFT,
        tick_ps=tick_ps,
        code_bytes=code_bytes,
        kernels=kernels,
    )


MPS2_AN386 = _board(
    "mps2-an386",
    "Cortex-M4F",
    "-mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16",
    tick_ps=40000,
    kernels=("dsp", "portable"),
)
MPS2_AN500 = _board(
    "mps2-an500",
    "Cortex-M7",
    "-mcpu=cortex-m7 -mthumb -mfloat-abi=hard -mfpu=fpv5-d16",
    tick_ps=40000,
    kernels=("dsp", "portable"),
)
MPS3_AN547 = _board(
    "mps3-an547",
    "Cortex-M55",
    "-mcpu=cortex-m55 -mthumb -mfloat-abi=hard",
    tick_ps=31250,
    kernels=("mve", "dsp", "portable"),
    code_bytes=16 << 20,
)
BOARDS: Mapping[str, Machine] = {
    board.name: board for board in (MPS2_AN386, MPS2_AN500, MPS3_AN547)
}

SANITIZED_HOST = Machine(
    name="host",
    core="host",
    tools={"cc": "gcc"},
    flags=("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),
    library=(),
    script=(),
    sources=("host_start.c",),
    run=("./program.elf",),
    code_bytes=1 << 30,
    arena_bytes=1 << 30,
)
