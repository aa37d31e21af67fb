"""Which step makes its next row, and how many rows of each tensor must be kept at a time.

Steps run in groups. Within a group rows are pulled: each call runs as late as the group's last
steps allow, so that a tensor between two of its steps is only a ring of a few rows. A tensor that
crosses from one group into another is kept whole.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby

from vp_converters.lowering.step import Program, Step

INPUT = -1
"""In the place of a step's number: the caller gives a row of the input."""

MAX_STEPS = 1022
"""An entry of a schedule names a stage in ten bits, and the input is one of them."""

MAX_ENTRIES = 2**16 - 1
"""Most runs of calls that an inference counts (nn/model.c)."""

MAX_RUN = 64
"""Most calls in a run."""


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
        first, last: calls between which it is in use, both included; the output's last one is the
            number of calls.
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
        rings: every tensor of which a row is made is in exactly one, unless it is a constant or a
            view of another.
        spans: (first, last) call of each step that runs, by step number.
    """

    groups: tuple[range, ...]
    calls: tuple[Call, ...]
    rings: tuple[Ring, ...]
    spans: Mapping[int, tuple[int, int]]

    @cached_property
    def runs(self) -> list[tuple[int, int]]:
        """(step, number of calls) of the runs of calls of one step, in order."""
        steps = groupby(call.step for call in self.calls)
        lengths = ((step, sum(1 for _ in same)) for step, same in steps)
        return [
            (step, min(MAX_RUN, length - done))
            for step, length in lengths
            for done in range(0, length, MAX_RUN)
        ]


def make_schedule(program: Program, groups: Sequence[range]) -> Schedule:
    """Runs the program's steps group by group.

    Args:
        groups: consecutive ranges that together hold the number of every step.

    Raises:
        ValueError: they do not.
    """
    if [number for group in groups for number in group] != list(range(len(program.steps))):
        raise ValueError(f"groups {groups} do not hold each of {len(program.steps)} steps once")
    wiring = Wiring(program)
    puller = Puller(wiring)
    for group in groups:
        puller.run_group(group)
    puller.need(wiring.output, wiring.heights[wiring.output] - 1)
    lives = take_over(wiring, program.steps, {t: puller.life(t) for t in puller.traces})
    rings = tuple(_ring(wiring, life, len(puller.calls)) for life in lives)
    return Schedule(tuple(groups), tuple(puller.calls), rings, puller.spans)


class Wiring:
    """What reads and writes each tensor of a program; views of one memory count as one tensor.

    Attributes:
        input, output: the tensors at the borders.
        heights: rows of each tensor.
        reads: the rows that each call of each step reads, as (tensor, rows) of every input that is
            not a constant. Rows that nobody reads are not made.
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
        self._inputs = [
            [(p, self.roots[t]) for p, t in enumerate(step.inputs) if tensors[t].data is None]
            for step in program.steps
        ]
        self.consumers: dict[int, list[int]] = {}
        for number, inputs in enumerate(self._inputs):
            for tensor in dict.fromkeys(tensor for _, tensor in inputs):
                self.consumers.setdefault(tensor, []).append(number)
        self.producers = {step.output: number for number, step in enumerate(program.steps)}
        self.producers[self.input] = INPUT
        self.reads = self._needed_reads()

    def calls(self, number: int) -> int:
        """Calls of a step."""
        return len(self.reads[number])

    def _needed_reads(self) -> list[list[list[tuple[int, range]]]]:
        needed = {self.output: self.heights[self.output]}
        reads: list[list[list[tuple[int, range]]]] = []
        for number in reversed(range(len(self._inputs))):
            step = self.program.steps[number]
            rows = needed.get(step.output, 0)
            calls = rows if step.reach and not step.accumulates else min(rows, 1)
            if rows and step.accumulates:
                calls = self.program.height(step.inputs[0])
            inputs = self._inputs[number]
            reads.append(
                [[(t, self._rows(number, p, call)) for p, t in inputs] for call in range(calls)]
            )
            for tensor, wanted in (read for call in reads[-1] for read in call if read[1]):
                needed[tensor] = max(needed.get(tensor, 0), wanted[-1] + 1)
        return reads[::-1]

    def row_bytes(self, tensor: int) -> int:
        """Bytes from one row of a tensor to the next."""
        return self.program.layout(tensor).row_bytes

    def _rows(self, number: int, position: int, call: int) -> range:
        """The rows of an input that a call of step ``number`` reads."""
        step = self.program.steps[number]
        tensor = step.inputs[position]
        height = self.heights[self.roots[tensor]]
        if step.reach is None or self.roots[tensor] != tensor:
            return range(height)
        return step.reach[position].rows(call, height)

    def is_kept(self, tensor: int, end: int) -> bool:
        """Whether it is read by step ``end`` or a later one, or is the output."""
        readers = self.consumers.get(tensor, ())
        return tensor == self.output or bool(readers and readers[-1] >= end)

    def is_made_before(self, tensor: int, start: int) -> bool:
        """Whether it is there, or partly there for the input, when step ``start`` begins."""
        producer = self.producers[tensor]
        if producer == INPUT:
            readers = self.consumers.get(tensor)
            return bool(readers and readers[0] < start)
        return producer < start


@dataclass(frozen=True)
class Life:
    """When the rows of a tensor are first written to, and read for the last time.

    ``read[row]`` is the time of the last call that reads it, that of its writing if none does.
    """

    tensors: tuple[int, ...]
    written: Sequence[int]
    read: Sequence[int]

    @cached_property
    def rows(self) -> int:
        """How many rows must be kept: row r + rows may be written only after r is last read."""
        times = self.written
        return max(
            (bisect_right(times, last) - row for row, last in enumerate(self.read)), default=1
        )

    @cached_property
    def last(self) -> int:
        """Time of the last call that uses it."""
        return max(self.read, default=-1)


@dataclass(frozen=True)
class Trace:
    """What happens to each row of a tensor: the call in which its writing begins (-1: it was there
    before), the one in which it is complete, the last one in which each step reads it (-1: none).
    """

    begun: list[int] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    reads: dict[int, list[int]] = field(default_factory=dict)


class Puller:
    """Simulates calls and traces the tensors.

    Args:
        start: number of the first step to run; what the ones before it write is there.

    Attributes:
        calls: in order.
        traces: by tensor.
        spans: (first, last) call of each step, by step number.
    """

    def __init__(self, wiring: Wiring, start: int = 0) -> None:
        self.calls: list[Call] = []
        self.traces: dict[int, Trace] = {}
        self.spans: dict[int, tuple[int, int]] = {}
        self._wiring = wiring
        self._start = start
        self._done = [0] * len(wiring.reads)

    def run_group(self, group: range) -> None:
        """Runs its steps to their end: those first whose outputs are wanted outside."""
        for number in group:
            if self._wiring.is_kept(self._wiring.program.steps[number].output, group.stop):
                while self._done[number] < self._wiring.calls(number):
                    self._run(number)

    def need(self, tensor: int, row: int) -> None:
        """Runs what writes row ``row`` of a tensor."""
        trace = self._trace(tensor)
        producer = self._wiring.producers[tensor]
        while len(trace.begun) <= row:
            if producer == INPUT:
                self._call(INPUT, len(trace.begun), trace, 1, len(self.calls))
            else:
                self._run(producer)

    def life(self, tensor: int, start: int = 0) -> Life:
        """Of a tensor, for the steps from ``start`` on."""
        trace = self.traces.get(tensor, Trace())
        reads = [times for reader, times in trace.reads.items() if reader >= start]
        if self._wiring.is_made_before(tensor, start):
            there = [-1] * self._wiring.heights[tensor]
            return Life((tensor,), there, list(map(max, there, *reads)) if reads else there)
        read = list(map(max, trace.done, *reads)) if reads else trace.done
        return Life((tensor,), trace.begun, read)

    def _trace(self, tensor: int) -> Trace:
        trace = self.traces.get(tensor)
        if trace is None:
            trace = self.traces[tensor] = Trace()
            if self._wiring.is_made_before(tensor, self._start):
                there = [-1] * self._wiring.heights[tensor]
                trace.begun.extend(there)
                trace.done.extend(there)
        return trace

    def _run(self, number: int) -> None:
        wiring = self._wiring
        step = wiring.program.steps[number]
        call = self._done[number]
        reads = wiring.reads[number][call]
        for tensor, rows in reads:
            if rows:
                self.need(tensor, rows[-1])
        time = len(self.calls)
        for tensor, rows in reads:
            if rows:
                known = self._trace(tensor).reads
                times = known.get(number)
                if times is None:
                    times = known[number] = [-1] * wiring.heights[tensor]
                times[rows[0] : rows[-1] + 1] = [time] * len(rows)
        self._done[number] += 1
        made, begun = wiring.heights[step.output] if step.reach is None else 1, time
        if step.accumulates:
            made = int(self._done[number] == wiring.calls(number))
            begun = self.spans.get(number, (time, time))[0]
        self._call(number, call, self._trace(step.output), made, begun)

    def _call(self, step: int, number: int, trace: Trace, made: int, begun: int) -> None:
        time = len(self.calls)
        trace.begun.extend([begun] * made)
        trace.done.extend([time] * made)
        self.calls.append(Call(step, number))
        self.spans[step] = (self.spans.get(step, (time, time))[0], time)


def take_over(wiring: Wiring, steps: Iterable[Step], lives: Mapping[int, Life]) -> list[Life]:
    """Outputs of ``steps`` move into the memory of an input where the step allows it and nobody
    reads the input later, row by row.

    Args:
        lives: by tensor.
    """
    by_tensor = dict(lives)
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
    return life if life.rows <= old.rows + new.rows else None


def _ring(wiring: Wiring, life: Life, end: int) -> Ring:
    row_bytes = wiring.row_bytes(life.tensors[0])
    if wiring.output in life.tensors:
        return Ring(life.tensors, len(life.written), row_bytes, life.written[0], end)
    return Ring(life.tensors, life.rows, row_bytes, life.written[0], life.last)
