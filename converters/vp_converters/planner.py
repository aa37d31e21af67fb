"""Static memory plan: where in the arena every ring of rows and all working memory lives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from vp_converters.errors import ConversionError
from vp_converters.grouping import Grouping, candidates
from vp_converters.lowering.step import Program
from vp_converters.schedule import MAX_ENTRIES, MAX_STEPS, Ring, Schedule, make_schedule

ALIGNMENT = 8

# Kernels count elements in int32_t.
MAX_ARENA = 2**31 - 1

MAX_CALLS = 2**20


@dataclass(frozen=True)
class Buffer:
    """A piece of the arena.

    Attributes:
        kind: "progress" (where an inference stands), "rows", "state" or "scratch".
        tensors: the tensors whose rows it holds.
        steps: the steps that use it as state or scratch.
        first, last: calls between which it is in use, both included.
        rows: rows kept at a time, 0 unless ``kind`` is "rows".
    """

    kind: str
    size: int
    first: int
    last: int
    tensors: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    rows: int = 0
    row_bytes: int = 0
    offset: int = 0

    @property
    def end(self) -> int:
        """First byte behind it."""
        return self.offset + self.size

    def overlaps(self, other: Buffer) -> bool:
        """Whether both are in use at some call."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, eq=False)
class Plan:
    """All buffers with their offsets.

    Attributes:
        program: the steps that are planned, some of them with their calls joined.
        schedule: what runs when.
        arena_size: bytes, a multiple of ALIGNMENT.
        rows: the buffer with the rows of every activation, by tensor index.
        state, scratch: arena offsets by step number.
    """

    program: Program
    schedule: Schedule
    buffers: tuple[Buffer, ...]
    arena_size: int
    rows: dict[int, Buffer]
    state: dict[int, int]
    scratch: dict[int, int]


def plan_memory(program: Program, ram: int | None = None) -> Plan:
    """A plan for the steps.

    Args:
        ram: bytes that the arena may take: the plan is the one with the fewest instructions that
            keeps to it. By default it is the one with the smallest arena.

    Raises:
        ConversionError: the arena would be larger than that or than MAX_ARENA, there are too many
            steps, or the images are too high.
    """
    if len(program.steps) > MAX_STEPS:
        raise ConversionError(
            f"{len(program.steps)} steps to run; at most {MAX_STEPS} are supported"
        )
    rows = sum(map(program.calls, program.steps))
    if rows > MAX_CALLS:
        raise ConversionError(f"{rows} rows to compute in all; at most {MAX_CALLS} are supported")
    limit = MAX_ARENA if ram is None else min(ram, MAX_ARENA)
    smallest: Plan | None = None
    for grouping in chain(candidates(program, ram), [_step_by_step(program)]):
        plan = plan_grouping(program, grouping)
        if len(plan.schedule.runs) > MAX_ENTRIES:
            continue
        if smallest is None or plan.arena_size < smallest.arena_size:
            smallest = plan
        if ram is not None and plan.arena_size <= limit:
            return plan
    if smallest is None:
        raise ConversionError(
            f"its schedule has more than {MAX_ENTRIES} entries: the images have too many rows"
        )
    if smallest.arena_size > limit:
        wanted = f"the arena needs at least {smallest.arena_size:,} bytes"
        raise ConversionError(wanted if ram is None else f"{wanted}, more than the {ram:,} given")
    return smallest


def plan_grouping(program: Program, grouping: Grouping) -> Plan:
    """The plan for one way to run the steps."""
    joined = program.with_joined(grouping.joined)
    return place_buffers(joined, make_schedule(joined, grouping.groups))


def _step_by_step(program: Program) -> Grouping:
    """The grouping with the fewest changes from one step to another."""
    return Grouping(tuple(range(n, n + 1) for n in range(len(program.steps))))


def progress_bytes(program: Program) -> int:
    """Bytes in which an inference notes where it stands (nn/model.c)."""
    return 4 + 2 * (len(program.steps) + 1)


def place_buffers(program: Program, schedule: Schedule) -> Plan:
    """The smallest of several greedy plans for one schedule.

    Each one takes the buffers in some order and puts each into the smallest gap that fits among the
    buffers in use at the same time.
    """
    buffers = _buffers(program, schedule)
    places = min((_place(buffers, order) for order in _ORDERS), key=_total)
    rows = {t: b for b in places for t in b.tensors}
    for tensor in (program.graph.input, *(step.output for step in program.steps)):
        never_made = Buffer("rows", 0, 0, 0, rows=1, row_bytes=program.layout(tensor).row_bytes)
        rows.setdefault(tensor, never_made)
    for alias in program.aliases:
        rows[alias.output] = rows[program.root(alias.output)]
    return Plan(
        program=program,
        schedule=schedule,
        buffers=tuple(places),
        arena_size=_total(places),
        rows=rows,
        state=_offsets(places, "state", [step.state for step in program.steps]),
        scratch=_offsets(places, "scratch", [step.scratch for step in program.steps]),
    )


def _offsets(places: Iterable[Buffer], kind: str, sizes: Sequence[int]) -> dict[int, int]:
    """Where each step's memory of one kind is; 0 for a step that never runs."""
    offsets = {number: 0 for number, size in enumerate(sizes) if size}
    return offsets | {s: b.offset for b in places if b.kind == kind for s in b.steps}


_ORDERS: tuple[Callable[[Buffer], tuple[int, int]], ...] = (
    lambda b: (-b.size, b.first),
    lambda b: (-b.size * (b.last - b.first + 1), b.first),
    lambda b: (b.first, -b.size),
    lambda b: (-b.last, -b.size),
)


def _total(buffers: Iterable[Buffer]) -> int:
    return max((_align(b.end) for b in buffers), default=0)


def _align(value: int) -> int:
    return -(-value // ALIGNMENT) * ALIGNMENT


def _place(buffers: Sequence[Buffer], order: Callable[[Buffer], tuple[int, int]]) -> list[Buffer]:
    """The first buffer stays at offset 0."""
    placed: dict[int, Buffer] = {0: buffers[0]}
    for number in sorted(range(1, len(buffers)), key=lambda i: order(buffers[i])):
        buffer = buffers[number]
        rivals = sorted((b for b in placed.values() if b.overlaps(buffer)), key=lambda b: b.offset)
        placed[number] = replace(buffer, offset=_best_gap(rivals, buffer.size))
    return [placed[number] for number in range(len(buffers))]


def _best_gap(rivals: list[Buffer], size: int) -> int:
    best: tuple[int, int] | None = None
    cursor = 0
    for rival in rivals:
        gap = rival.offset - cursor
        if gap >= size and (best is None or gap < best[0]):
            best = (gap, cursor)
        cursor = max(cursor, _align(rival.end))
    return cursor if best is None else best[1]


def _buffers(program: Program, schedule: Schedule) -> list[Buffer]:
    """The progress first, then the rings, states, and one scratch buffer for each group."""
    end = len(schedule.calls)
    buffers = [Buffer("progress", progress_bytes(program), -1, end)]
    buffers += [_rows(ring) for ring in schedule.rings]
    for number, step in enumerate(program.steps):
        if step.state and number in schedule.spans:
            buffers.append(Buffer("state", step.state, *schedule.spans[number], steps=(number,)))
    for group in schedule.groups:
        users = [n for n in group if program.steps[n].scratch and n in schedule.spans]
        if users:
            size = max(program.steps[n].scratch for n in users)
            first = min(schedule.spans[n][0] for n in users)
            last = max(schedule.spans[n][1] for n in users)
            buffers.append(Buffer("scratch", size, first, last, steps=tuple(users)))
    return buffers


def _rows(ring: Ring) -> Buffer:
    return Buffer(
        kind="rows",
        size=ring.size,
        first=ring.first,
        last=ring.last,
        tensors=ring.tensors,
        rows=ring.rows,
        row_bytes=ring.row_bytes,
    )
