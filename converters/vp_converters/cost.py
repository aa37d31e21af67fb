"""What steps cost in instructions: an estimate that orders plans, no more.

Every plan makes each row once, so that plans differ only in how many calls that takes.
"""

from __future__ import annotations

from vp_converters.lowering.step import Program, Step

_CALL = 80
"""Instructions around a call: the schedule, the arguments, the loops' beginnings."""

_BLOCK = 4
"""Pixels that fast kernels take at a time; a row costs as if it had a multiple of them."""

_CONSTANTS_PER_INSTRUCTION = 4
"""Bytes. Each call reads the step's constants anew."""


def call_cost(program: Program, step: Step) -> int:
    """Instructions of a step that depend on its number of calls."""
    calls, shape = program.calls(step), program.graph.tensors[step.output].shape
    pixels = shape[1] * shape[2] if len(shape) == 4 else 1
    per_row = -(-pixels // calls)
    idle = (-per_row % _BLOCK) * calls
    constants = sum(array.size for array in step.arrays())
    per_call = _CALL + constants // _CONSTANTS_PER_INSTRUCTION
    return calls * per_call + idle * step.macs // max(pixels, 1)


def joining_saves(program: Program) -> dict[int, int]:
    """Instructions that a step saves if all its rows are made in one call, by the numbers of the
    steps that can."""
    saved: dict[int, int] = {}
    for number, step in enumerate(program.steps):
        joined = program.joined(step)
        if joined is not None:
            saved[number] = call_cost(program, step) - call_cost(program, joined)
    return saved
