"""Where to cut a program into groups that are streamed through rings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from vp_converters.cost import joining_saves
from vp_converters.lowering.step import Program
from vp_converters.schedule import Life, Puller, Wiring, take_over

MAX_GROUP = 32
"""Most steps in a group."""

_MOST_WORK = 2**25
"""Bound of rows times squared size of a group, which is what finding the groups takes."""

_SLACKS = (1.0, 1.03, 1.1)

_NARROWING = 0.97


@dataclass(frozen=True)
class Grouping:
    """How to run a program.

    Attributes:
        groups: consecutive ranges of steps; each is streamed.
        joined: steps, each a group of its own, that make all their rows in one call.
    """

    groups: tuple[range, ...]
    joined: frozenset[int] = frozenset()


def candidates(program: Program, ram: int | None = None) -> Iterator[Grouping]:
    """Some ways to run a program, the most promising first: each keeps the group which needs the
    most memory below a limit, and costs the fewest instructions that this allows.

    Args:
        ram: the first limit, in bytes; the next ones are ever narrower. By default the limits are
            the least one that there is and slightly more.
    """
    choice = _Choice(program)
    limits = []
    while ram is not None and ram > choice.least:
        limits.append(ram)
        ram = int(ram * _NARROWING)
    limits += [int(choice.least * slack) for slack in _SLACKS]
    seen: set[Grouping] = set()
    for limit in limits:
        grouping = choice.cheapest(limit)
        if grouping not in seen:
            seen.add(grouping)
            yield grouping


def _largest_group(program: Program) -> int:
    rows = sum(program.calls(step) for step in program.steps)
    return max(1, min(MAX_GROUP, math.isqrt(_MOST_WORK // max(rows, 1))))


def group_costs(program: Program, limit: int = MAX_GROUP) -> dict[range, int]:
    """Most bytes in use at a time while a group runs, for every group of up to ``limit`` steps."""
    wiring = Wiring(program)
    count = len(program.steps)
    costs: dict[range, int] = {}
    for end in range(1, count + 1):
        costs |= _Ending(wiring, max(0, end - limit), end).costs()
    return costs


def group_cost(program: Program, group: range) -> int:
    """Most bytes in use at a time while one group runs."""
    return _Ending(Wiring(program), group.start, group.stop).costs()[group]


class _Ending:
    """All groups that end ahead of step ``end`` and begin with step ``lowest`` or a later one.

    They share one simulation: steps are pulled by later ones alone, so that the calls of a group
    come in the same order whatever runs ahead of it.
    """

    def __init__(self, wiring: Wiring, lowest: int, end: int) -> None:
        self._wiring = wiring
        self._steps = range(lowest, end)
        self._puller = Puller(wiring, lowest)
        self._puller.run_group(self._steps)
        self._made_here = {
            tensor: self._puller.life(tensor, lowest)
            for tensor in self._puller.traces
            if not wiring.is_made_before(tensor, lowest)
        }

    def costs(self) -> dict[range, int]:
        """Most bytes in use at a time, by group."""
        end = self._steps.stop
        return {range(first, end): self._cost(first) for first in self._steps}

    def _cost(self, first: int) -> int:
        wiring, end = self._wiring, self._steps.stop
        steps = wiring.program.steps
        after = len(self._puller.calls)
        uses: list[tuple[int, int, int]] = []
        for life in take_over(wiring, steps[first:end], self._lives(first)):
            kept = wiring.is_kept(life.tensors[-1], end)
            whole = kept or wiring.is_made_before(life.tensors[0], first)
            rows = wiring.heights[life.tensors[0]] if whole else life.rows
            size = rows * wiring.row_bytes(life.tensors[0])
            uses.append((life.written[0], after if kept else life.last, size))
        spans = {n: s for n, s in self._puller.spans.items() if n >= first}
        uses += [(*span, steps[number].state) for number, span in spans.items()]
        users = [number for number in spans if steps[number].scratch]
        if users:
            begin, stop = min(spans[n][0] for n in users), max(spans[n][1] for n in users)
            uses.append((begin, stop, max(steps[n].scratch for n in users)))
        return _peak(uses)

    def _lives(self, first: int) -> dict[int, Life]:
        """Of the tensors that are in use while the steps from ``first`` on run."""
        wiring, end = self._wiring, self._steps.stop
        lives: dict[int, Life] = {}
        for tensor, producer in wiring.producers.items():
            if producer >= end or first >= end:
                continue
            if not wiring.is_made_before(tensor, first):
                if tensor in self._made_here:
                    lives[tensor] = self._made_here[tensor]
            elif wiring.is_kept(tensor, first):
                lives[tensor] = self._puller.life(tensor, first)
        return lives


def _peak(uses: list[tuple[int, int, int]]) -> int:
    """Most bytes at a time of (first, last, bytes)."""
    changes = [(first, size) for first, _, size in uses]
    changes += [(last + 1, -size) for _, last, size in uses]
    changes.sort()
    return max(accumulate((size for _, size in changes), initial=0))


class _Choice:
    """The groupings of a program.

    Attributes:
        least: the least peak of any of them, in bytes.
    """

    def __init__(self, program: Program) -> None:
        self._count = len(program.steps)
        self._size = _largest_group(program)
        self._costs = group_costs(program, self._size)
        self._saved = joining_saves(program)
        joined = Wiring(program.with_joined(self._saved))
        self._joined_costs = {
            number: _Ending(joined, number, number + 1).costs()[range(number, number + 1)]
            for number in self._saved
        }
        best = [0] * (self._count + 1)
        for end in range(1, self._count + 1):
            starts = range(max(0, end - self._size), end)
            best[end] = min(max(best[first], self._least_cost(first, end)) for first in starts)
        self.least = best[-1]

    def _least_cost(self, first: int, end: int) -> int:
        cost = self._costs[range(first, end)]
        return min(cost, self._joined_costs.get(first, cost)) if end == first + 1 else cost

    def cheapest(self, most: int) -> Grouping:
        """Of the groupings whose costs are at most ``most``, that with the fewest instructions; of
        those the one with the fewest groups, then that with the least sum of costs."""
        best: list[_Way | None] = [_Way()]
        for end in range(1, self._count + 1):
            ways = (
                self._extended(way, first, end, most)
                for first, way in enumerate(best[-self._size :], max(0, end - self._size))
                if way is not None
            )
            best.append(min((way for way in ways if way is not None), default=None))
        way = best[-1]
        groups: list[range] = []
        joined = set()
        end = self._count
        while way is not None and end:
            groups.insert(0, range(way.first, end))
            if way.joined:
                joined.add(way.first)
            end = way.first
            way = best[end]
        return Grouping(tuple(groups), frozenset(joined))

    def _extended(self, way: _Way, first: int, end: int, most: int) -> _Way | None:
        """``way`` up to step ``first``, and then a group up to ``end``."""
        cost, saved, joined = self._costs[range(first, end)], way.saved, False
        if end == first + 1 and self._joined_costs.get(first, most + 1) <= most:
            cost, joined = self._joined_costs[first], True
            saved += self._saved[first]
        if cost > most:
            return None
        return _Way(saved, way.groups + 1, way.costs + cost, first, joined)


@dataclass(frozen=True)
class _Way:
    """A grouping of the steps up to some end; what is saved, and how its last group looks."""

    saved: int = 0
    groups: int = 0
    costs: int = 0
    first: int = 0
    joined: bool = False

    def __lt__(self, other: _Way) -> bool:
        return (-self.saved, self.groups, self.costs) < (-other.saved, other.groups, other.costs)
