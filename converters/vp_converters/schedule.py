"""Which step makes its next row, and how many rows of each tensor must be kept at a time.

Steps run in groups. Within a group rows are pulled: each call runs as late as the group's last
steps allow, so that a tensor between two of its steps is only a ring of a few rows. A tensor that
crosses from one group into another is kept whole.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from vp_converters.lowering.step import Program, Step

INPUT = -1
"""In the place of a step's number: the caller gives a row of the input."""


@dataclass(frozen=True)
class Call:
    """Step number ``step`` (INPUT for the caller) makes what it makes in its call ``number``."""

    step: int
    number: int


@dataclass(frozen=True)
class Ring:
    """The rows of one tensor, or of several that take over each other's memory.

    Attributes:
        tensors: in the order in which they are written.
        rows: kept at a time.
        row_bytes: bytes of one.
        first, last: calls between which it is in use, both included; the input's first call is -1
            where the caller gives it, the output's last one the number of calls.
    """

    tensors: tuple[int, ...]
    rows: int
    row_bytes: int
    first: int
    last: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.rows * self.row_bytes


@dataclass(frozen=True, eq=False)
class Schedule:
    """The order of all calls of one inference.

    Attributes:
        groups: the numbers of the steps in each group, in order.
        calls: in order.
        rings: every tensor that is not a constant or another view is in exactly one.
    """

    groups: tuple[range, ...]
    calls: tuple[Call, ...]
    rings: tuple[Ring, ...]

    def span(self, steps: range) -> tuple[int, int]:
        """(first, last) call of the given steps."""
        times = [time for time, call in enumerate(self.calls) if call.step in steps]
        return times[0], times[-1]


def make_schedule(program: Program, groups: Sequence[range]) -> Schedule:
    """Runs the program's steps group by group.

    Args:
        groups: consecutive ranges that together hold the number of every step.
    """
    wiring = Wiring(program)
    puller = Puller(wiring)
    for group in groups:
        puller.run_group(group)
    puller.need(wiring.output, program.height(wiring.output) - 1)
    lives = take_over(wiring, program.steps, list(puller.lives.values()))
    rings = tuple(_ring(wiring, life, len(puller.calls)) for life in lives)
    return Schedule(tuple(groups), tuple(puller.calls), rings)


class Wiring:
    """What reads and writes each tensor of a program; views of one memory count as one tensor.

    Attributes:
        input, output: the tensors at the borders.
        calls: calls of each step.
        reads: for each step (position among its inputs, tensor) of those that are not constants.
        consumers: the numbers of the steps that read a tensor, in order.
        producers: the number of the step that writes a tensor, INPUT for the input.
    """

    def __init__(self, program: Program) -> None:
        tensors = program.graph.tensors
        self.program = program
        self.roots = {tensor.index: program.root(tensor.index) for tensor in tensors}
        self.heights = {root: program.height(root) for root in set(self.roots.values())}
        self.input = program.graph.input
        self.output = self.roots[program.graph.output]
        self.calls = [program.calls(step) for step in program.steps]
        self.reads = [
            [(p, self.roots[t]) for p, t in enumerate(step.inputs) if tensors[t].data is None]
            for step in program.steps
        ]
        self.consumers: dict[int, list[int]] = {}
        for number, reads in enumerate(self.reads):
            for _, tensor in reads:
                self.consumers.setdefault(tensor, []).append(number)
        self.producers = {step.output: number for number, step in enumerate(program.steps)}
        self.producers[self.input] = INPUT

    def rows(self, number: int, position: int, call: int) -> range:
        """The rows of an input that a call of step ``number`` reads."""
        step = self.program.steps[number]
        tensor = step.inputs[position]
        height = self.heights[self.roots[tensor]]
        if step.reach is None or self.roots[tensor] != tensor:
            return range(height)
        return step.reach[position].rows(call, height)

    def is_kept(self, tensor: int, group: range) -> bool:
        """Whether it is read after the group, or is the output."""
        readers = self.consumers.get(tensor, ())
        return tensor == self.output or any(reader >= group.stop for reader in readers)


@dataclass
class Life:
    """When the rows of a tensor are first written to, and read for the last time.

    ``read[row]`` is the time of the last call that reads it, that of its writing if none does.
    """

    tensors: tuple[int, ...]
    written: list[int] = field(default_factory=list)
    read: list[int] = field(default_factory=list)

    def rows(self) -> int:
        """How many rows must be kept: row r + rows() may be written only after r is last read."""
        times = self.written
        return max(
            (bisect_right(times, last) - row for row, last in enumerate(self.read)), default=1
        )


class Puller:
    """Simulates calls and keeps the lives of the tensors.

    Args:
        start: number of the first step to run; what the ones before it write is there.
    """

    def __init__(self, wiring: Wiring, start: int = 0) -> None:
        self.calls: list[Call] = []
        self.lives: dict[int, Life] = {}
        self._wiring = wiring
        self._start = start
        self._done = [0] * len(wiring.calls)
        self._begun: dict[int, int] = {}

    def run_group(self, group: range) -> None:
        """Runs its steps to their end: those first whose outputs are wanted outside."""
        for number in group:
            tensor = self._wiring.program.steps[number].output
            if self._wiring.is_kept(tensor, group) or tensor not in self._wiring.consumers:
                while self._done[number] < self._wiring.calls[number]:
                    self._run(number)

    def need(self, tensor: int, row: int) -> None:
        """Runs what writes row ``row`` of a tensor."""
        life = self._life(tensor)
        producer = self._wiring.producers[tensor]
        while len(life.written) <= row:
            if producer == INPUT:
                self._call(INPUT, len(life.written), life, 1, len(self.calls))
            else:
                self._run(producer)

    def _life(self, tensor: int) -> Life:
        life = self.lives.get(tensor)
        if life is None:
            life = self.lives[tensor] = Life((tensor,))
            producer = self._wiring.producers[tensor]
            readers = self._wiring.consumers.get(tensor, ())
            if producer == INPUT:
                there = any(reader < self._start for reader in readers)
            else:
                there = producer < self._start
            if there:
                life.written = [-1] * self._wiring.heights[tensor]
                life.read = list(life.written)
        return life

    def _run(self, number: int) -> None:
        wiring = self._wiring
        step = wiring.program.steps[number]
        call = self._done[number]
        reads = [(t, wiring.rows(number, position, call)) for position, t in wiring.reads[number]]
        for tensor, rows in reads:
            if rows:
                self.need(tensor, rows[-1])
        time = len(self.calls)
        for tensor, rows in reads:
            for row in rows:
                self.lives[tensor].read[row] = time
        self._done[number] += 1
        life = self._life(step.output)
        if step.accumulates:
            first = self._begun.setdefault(number, time)
            made, begun = int(self._done[number] == wiring.calls[number]), first
        else:
            made, begun = (wiring.heights[step.output] if step.reach is None else 1), time
        self._call(number, call, life, made, begun)

    def _call(self, step: int, number: int, life: Life, made: int, begun: int) -> None:
        life.written.extend([begun] * made)
        life.read.extend([len(self.calls)] * made)
        self.calls.append(Call(step, number))


def take_over(wiring: Wiring, steps: Sequence[Step], lives: list[Life]) -> list[Life]:
    """Outputs of ``steps`` move into the memory of an input where the step allows it and nobody
    reads the input later, row by row."""
    by_tensor = {life.tensors[0]: life for life in lives}
    for step in steps:
        for position in step.in_place:
            tensor = wiring.roots[step.inputs[position]]
            old, new = by_tensor.get(tensor), by_tensor.get(step.output)
            if old is None or new is None or old is new or tensor == wiring.output:
                continue
            merged = _merged(wiring, old, new, tensor, step.output)
            if merged is not None:
                by_tensor |= dict.fromkeys(merged.tensors, merged)
                break
    return list({id(life): life for life in by_tensor.values()}.values())


def _merged(wiring: Wiring, old: Life, new: Life, tensor: int, output: int) -> Life | None:
    layouts = [wiring.program.layout(t) for t in (tensor, output)]
    if len(old.written) != len(new.written) or layouts[0] != layouts[1]:
        return None
    if any(read > written for read, written in zip(old.read, new.written, strict=True)):
        return None
    life = Life((*old.tensors, *new.tensors), old.written, new.read)
    return life if life.rows() <= old.rows() + new.rows() else None


def _ring(wiring: Wiring, life: Life, end: int) -> Ring:
    layout = wiring.program.layout(life.tensors[0])
    if wiring.output in life.tensors:
        return Ring(life.tensors, len(life.written), layout.row_bytes, life.written[0], end)
    return Ring(life.tensors, life.rows(), layout.row_bytes, life.written[0], max(life.read))
