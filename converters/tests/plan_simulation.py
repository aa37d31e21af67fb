"""Follows a schedule through the arena, byte by byte: who wrote what is read?"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from random_graphs import small_graph
from vp_converters.backends import KERNELS, for_kernels
from vp_converters.lowering import lower
from vp_converters.lowering.step import Program, Step
from vp_converters.passes import run_passes
from vp_converters.planner import Buffer, Plan, progress_bytes
from vp_converters.reader import read_graph
from vp_converters.schedule import INPUT, Call

EXAMPLES = 25 if os.environ.get("VP_EXHAUSTIVE") == "1" else 1
"""How many times the usual number of random graphs."""


class PlanError(AssertionError):
    """A call meets other bytes than it should."""


def program_of(data: bytes) -> Program:
    """A .tflite file's portable program."""
    return lower(run_passes(read_graph(data)))


def random_program(rng: random.Random) -> Program:
    """A random graph on random kernels."""
    return for_kernels(program_of(small_graph(rng)), rng.choice(KERNELS))


def random_cuts(rng: random.Random, count: int) -> list[range]:
    """A random grouping of ``count`` steps."""
    inner = [cut for cut in range(1, count) if rng.random() < 0.4]
    edges = [0, *inner, count]
    return [range(a, b) for a, b in pairwise(edges) if a < b]


@dataclass
class Simulation:
    """An arena whose every byte remembers what it holds.

    Args:
        plan: what to follow.
    """

    plan: Plan
    _bytes: np.ndarray = field(init=False)
    _names: dict[object, int] = field(init=False, default_factory=dict)
    _calls: dict[int, int] = field(init=False, default_factory=dict)

    @property
    def program(self) -> Program:
        """What is planned."""
        return self.plan.program

    def run(self) -> None:
        """Every call, in order.

        Raises:
            PlanError: a call reads bytes that are not what they should be, or writes where it must
                not; or the output is not whole at the end.
        """
        self._bytes = np.zeros(self.plan.arena_size, dtype=np.int64)
        self._write("progress", 0, progress_bytes(self.program))
        for call in self.plan.schedule.calls:
            self._check(call.number == self._calls.get(call.step, 0), f"{call} out of order")
            self._calls[call.step] = call.number + 1
            if call.step == INPUT:
                self._write_row(self.program.graph.input, call.number)
            else:
                self._step(call, self.program.steps[call.step])
            self._holds("progress", 0, progress_bytes(self.program))
        output = self.program.root(self.program.graph.output)
        self._check(self.plan.rows[output].rows == self.program.height(output), "output not whole")
        for row in range(self.program.height(output)):
            self._holds(("row", output, row), *self._place(output, row))

    def _step(self, call: Call, step: Step) -> None:
        read = {}
        for position, tensor, row in self._reads(call, step):
            self._holds(("row", tensor, row), *self._place(tensor, row))
            read[self._place(tensor, row)] = position
        if step.state:
            place = (self.plan.state[call.step], step.state)
            if call.number:
                self._holds(("state", call.step), *place)
            self._apart(place, read)
            self._write(("state", call.step), *place)
        if step.scratch:
            place = (self.plan.scratch[call.step], step.scratch)
            self._apart(place, read)
            self._write("scratch", *place)
        self._outputs(call, step, read)
        if step.state:
            self._holds(("state", call.step), self.plan.state[call.step], step.state)

    def _outputs(self, call: Call, step: Step, read: dict[tuple[int, int], int]) -> None:
        height = self.program.height(step.output)
        if step.reach is None:
            self._check(self.plan.rows[step.output].rows == height, "whole output in a ring")
            rows = range(height)
        else:
            rows = range(1) if step.accumulates else range(call.number, call.number + 1)
        if step.accumulates and call.number:
            self._holds(("row", step.output, 0), *self._place(step.output, 0))
        others = {place: p for place, p in read.items() if p not in step.in_place}
        places = [self._place(step.output, row) for row in rows]
        for place in places:
            self._apart(place, others)
        taken = {place: p for place, p in read.items() if place not in places}
        for row, place in zip(rows, places, strict=True):
            self._apart(place, taken)
            self._write_row(step.output, row)
        if step.scratch:
            self._holds("scratch", self.plan.scratch[call.step], step.scratch)

    def _reads(self, call: Call, step: Step) -> Iterator[tuple[int, int, int]]:
        """(position, tensor, row) of everything that a call reads."""
        for position, tensor in enumerate(step.inputs):
            if self.program.graph.tensors[tensor].data is not None:
                continue
            root = self.program.root(tensor)
            height = self.program.height(root)
            rows = range(height)
            if step.reach is not None and root == tensor:
                rows = step.reach[position].rows(call.number, height)
            elif self.plan.rows[root].rows != height:
                raise PlanError(f"{call} wants tensor {root} whole")
            yield from ((position, root, row) for row in rows)

    def _place(self, tensor: int, row: int) -> tuple[int, int]:
        buffer = self.plan.rows[tensor]
        return buffer.offset + row % buffer.rows * buffer.row_bytes, buffer.row_bytes

    def _write_row(self, tensor: int, row: int) -> None:
        self._check(row < self.program.height(tensor), f"tensor {tensor} has no row {row}")
        self._write(("row", tensor, row), *self._place(tensor, row))

    def _write(self, name: object, offset: int, size: int) -> None:
        self._check(offset + size <= self.plan.arena_size, f"{name} ends outside the arena")
        self._bytes[offset : offset + size] = self._names.setdefault(name, len(self._names) + 1)

    def _holds(self, name: object, offset: int, size: int) -> None:
        held = self._bytes[offset : offset + size]
        self._check(bool((held == self._names.get(name, -1)).all()), f"{name} is not there")

    def _apart(self, place: tuple[int, int], others: dict[tuple[int, int], int]) -> None:
        offset, size = place
        for other, length in others:
            self._check(offset + size <= other or other + length <= offset, "overlaps an input")

    @staticmethod
    def _check(holds: bool, message: str) -> None:
        if not holds:
            raise PlanError(message)


def with_fewer_rows(plan: Plan, buffer: Buffer) -> Plan:
    """The plan with one row less in one of its rings."""
    less = replace(buffer, rows=buffer.rows - 1, size=buffer.size - buffer.row_bytes)
    return replace(plan, rows={t: less if b == buffer else b for t, b in plan.rows.items()})
