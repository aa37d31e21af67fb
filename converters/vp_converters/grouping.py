"""Where to cut a program into groups that are streamed through rings."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import accumulate

from vp_converters.lowering.step import Program
from vp_converters.schedule import Life, Puller, Wiring, take_over

MAX_GROUP = 32
"""Most steps in a group."""

_MOST_WORK = 2**25
"""Bound of rows times squared size of a group, which is what finding the groups takes."""

_SLACKS = (1.0, 1.03, 1.1)


def candidates(program: Program) -> Iterator[list[range]]:
    """Some groupings with a small peak, the most promising first: each cuts the steps so that the
    group which needs the most memory needs little, and the groups are as few as that allows."""
    limit = _largest_group(program)
    costs = group_costs(program, limit)
    least = _narrowest(costs, len(program.steps), limit)
    seen: list[list[range]] = []
    for slack in _SLACKS:
        groups = _fewest(costs, len(program.steps), int(least * slack), limit)
        if groups not in seen:
            seen.append(groups)
            yield groups


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


def _narrowest(costs: dict[range, int], count: int, limit: int) -> int:
    """The least peak of any grouping of steps 0 .. count - 1."""
    best = [0] * (count + 1)
    for end in range(1, count + 1):
        starts = range(max(0, end - limit), end)
        best[end] = min(max(best[first], costs[range(first, end)]) for first in starts)
    return best[count]


def _fewest(costs: dict[range, int], count: int, most: int, limit: int) -> list[range]:
    """The grouping with the fewest groups among those whose costs are at most ``most``; of those,
    the one with the least sum of costs."""
    best: list[tuple[int, int, int]] = [(0, 0, 0)]
    for end in range(1, count + 1):
        options = []
        for first in range(max(0, end - limit), end):
            cost = costs[range(first, end)]
            if cost <= most and best[first][0] >= 0:
                options.append((best[first][0] + 1, best[first][1] + cost, first))
        best.append(min(options, default=(-1, 0, 0)))
    groups: list[range] = []
    end = count
    while end:
        groups.insert(0, range(best[end][2], end))
        end = best[end][2]
    return groups
