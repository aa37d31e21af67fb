"""What `vp bench` finds out about a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vp_converters.bench.footprint import Footprint


@dataclass(frozen=True)
class OperatorCount:
    """One step of the program.

    Attributes:
        op_index, operator: its place in the .tflite file, and its TFLite name.
        shape: of its output.
        calls: of its kernel, in one inference.
        instructions: of all those calls, mean over the inputs.
    """

    op_index: int
    operator: str
    kernel: str
    shape: tuple[int, ...]
    macs: int
    calls: int
    instructions: int


@dataclass(frozen=True)
class BenchResult:
    """One model on one board.

    Attributes:
        model, hash: its name and the first 8 bytes of BLAKE2s-256 over the .tflite file, in hex.
        board, core: the emulated machine.
        kernels: "portable", "dsp" or "mve".
        compiler, flags, emulator: what built and ran it.
        instructions: guest instructions of one inference, mean over the inputs; the copy of the
            input into the arena is part of it.
        instructions_range: the least and the most for one input.
        operators: where they go; the rest is the schedule's and the input's.
        macs: multiplications of one inference.
        input_bytes: the whole input, which need not be in memory at once and is not in `ram_bytes`.
        arena_bytes: activations with their scratch memory.
        footprint: the model linked alone, with the library functions that it calls.
        stack_bytes: the deepest stack of an inference, measured.
        inputs_checked: random inputs compared with tflite_micro.
        compared: what was compared: "before the softmax" where there is one, and "output".
        mismatches: inputs for which a value differs.
        difference: how the first of them differs.
    """

    model: str
    hash: str
    board: str
    core: str
    kernels: str
    compiler: str
    flags: str
    emulator: str
    instructions: int
    instructions_range: tuple[int, int]
    operators: tuple[OperatorCount, ...]
    macs: int
    input_bytes: int
    arena_bytes: int
    footprint: Footprint
    stack_bytes: int
    inputs_checked: int
    compared: tuple[str, ...]
    mismatches: int
    difference: str | None

    @property
    def overhead(self) -> int:
        """Instructions outside of the kernels."""
        return self.instructions - sum(one.instructions for one in self.operators)

    @property
    def ram_bytes(self) -> int:
        """Arena (scratch included) and variables; the stack comes on top."""
        return self.arena_bytes + self.footprint.static

    def report(self) -> Mapping[str, Any]:
        """The object that `vp bench --json` prints."""
        report = asdict(self)
        parts = report.pop("footprint")
        return report | {
            "instructions_per_mac": round(self.instructions / self.macs, 4) if self.macs else None,
            "overhead_instructions": self.overhead,
            "ram_bytes": self.ram_bytes,
            "static_bytes": parts["static"],
            "flash_bytes": self.footprint.flash,
            "code_bytes": parts["code"],
            "constant_bytes": parts["constants"],
        }
