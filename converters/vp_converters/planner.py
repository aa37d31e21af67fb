"""Static memory plan: where in the arena every activation and every scratch buffer lives."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from vp_converters.errors import ConversionError
from vp_converters.lowering.step import Program

ALIGNMENT = 8

# Kernels count elements in int32_t.
MAX_ARENA = 2**31 - 1


@dataclass(frozen=True)
class Buffer:
    """A piece of the arena.

    Attributes:
        tensors: the tensors that live in it, one after another or under several shapes; empty for
            scratch.
        first, last: steps between which it is in use, both included. The input is in use from step
            -1 on, the output up to and including the step after the last one.
    """

    tensors: tuple[int, ...]
    size: int
    first: int
    last: int
    offset: int = 0

    @property
    def end(self) -> int:
        """First byte behind it."""
        return self.offset + self.size

    def overlaps(self, other: Buffer) -> bool:
        """Whether both are in use at some step."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True)
class Plan:
    """All buffers with their offsets.

    Attributes:
        arena_size: bytes, a multiple of ALIGNMENT.
        offsets: arena offset of every activation, by tensor index.
        scratch: arena offset of the scratch buffer, by step number.
    """

    buffers: tuple[Buffer, ...]
    arena_size: int
    offsets: dict[int, int]
    scratch: dict[int, int]


def plan_memory(program: Program) -> Plan:
    """The smallest of several greedy plans.

    Each one takes the buffers in some order and puts each into the smallest gap that fits among the
    buffers in use at the same time.

    Raises:
        ConversionError: the arena would be larger than MAX_ARENA.
    """
    tensors, scratch = _buffers(program)
    buffers = [*tensors, *scratch.values()]
    places = min((_place(buffers, order) for order in _ORDERS), key=_total)
    if _total(places) > MAX_ARENA:
        raise ConversionError(f"the activations need {_total(places)} bytes")
    offsets = {t: places[i].offset for i, b in enumerate(buffers) for t in b.tensors}
    scratch_offsets = {step: places[len(tensors) + i].offset for i, step in enumerate(scratch)}
    return Plan(tuple(places), _total(places), offsets, scratch_offsets)


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


def _place(buffers: list[Buffer], order: Callable[[Buffer], tuple[int, int]]) -> list[Buffer]:
    placed: dict[int, Buffer] = {}
    for number in sorted(range(len(buffers)), key=lambda i: order(buffers[i])):
        buffer = buffers[number]
        rivals = sorted((b for b in placed.values() if b.overlaps(buffer)), key=lambda b: b.offset)
        offset = _best_gap(rivals, buffer.size)
        placed[number] = Buffer(buffer.tensors, buffer.size, buffer.first, buffer.last, offset)
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


def _buffers(program: Program) -> tuple[list[Buffer], dict[int, Buffer]]:
    """(one buffer for each group of tensors that share memory, scratch buffers by step number)."""
    groups = _Groups(program)
    tensors = [
        Buffer(
            tensors=tuple(sorted(group.members)),
            size=max(program.graph.tensors[t].size for t in group.members),
            first=group.first,
            last=group.last,
        )
        for group in groups.all()
    ]
    scratch = {
        number: Buffer((), step.scratch, number, number)
        for number, step in enumerate(program.steps)
        if step.scratch
    }
    return tensors, scratch


@dataclass
class _Group:
    members: set[int]
    first: int
    last: int


class _Groups:
    """Tensors that share memory: aliases, and outputs that take over an input's memory."""

    def __init__(self, program: Program) -> None:
        self._program = program
        graph = program.graph
        self._of: dict[int, _Group] = {graph.input: _Group({graph.input}, -1, -1)}
        for number, step in enumerate(program.steps):
            self._of[step.output] = _Group({step.output}, number, number)
        for alias in program.aliases:
            self._merge(alias.input, alias.output)
        for number, step in enumerate(program.steps):
            for tensor in step.inputs:
                if graph.tensors[tensor].data is None:
                    self._of[tensor].last = max(self._of[tensor].last, number)
        self._of[graph.output].last = len(program.steps)
        for number, step in enumerate(program.steps):
            self._take_over(number, step.output, [step.inputs[i] for i in step.in_place])

    def all(self) -> list[_Group]:
        """Every group once, in order of first use."""
        return sorted({id(g): g for g in self._of.values()}.values(), key=lambda g: g.first)

    def _merge(self, into: int, tensor: int) -> None:
        group = self._of[into]
        other = self._of.get(tensor, _Group({tensor}, group.first, group.last))
        group.members |= other.members
        group.first = min(group.first, other.first)
        group.last = max(group.last, other.last)
        for member in other.members:
            self._of[member] = group

    def _take_over(self, number: int, output: int, candidates: list[int]) -> None:
        for tensor in candidates:
            group = self._of.get(tensor)
            if group is not None and group.last == number:
                self._merge(tensor, output)
                return
