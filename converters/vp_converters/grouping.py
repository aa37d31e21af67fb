"""Where to cut a program into groups that are streamed through rings."""

from __future__ import annotations

from collections.abc import Iterator

from vp_converters.lowering.step import Program
from vp_converters.schedule import INPUT, Puller, Wiring, take_over

MAX_GROUP = 24
"""Most steps in a group."""

_SLACKS = (1.0, 1.03, 1.1)


def candidates(program: Program) -> Iterator[list[range]]:
    """Some groupings with a small peak, the most promising first: each cuts the steps so that the
    group which needs the most memory needs little, and the groups are as few as that allows."""
    costs = group_costs(program)
    least = _narrowest(costs, len(program.steps))
    seen: list[list[range]] = []
    for slack in _SLACKS:
        groups = _fewest(costs, len(program.steps), int(least * slack))
        if groups not in seen:
            seen.append(groups)
            yield groups


def group_costs(program: Program) -> dict[range, int]:
    """Bytes in use while a group runs, an estimate, for every group of up to MAX_GROUP steps."""
    wiring = Wiring(program)
    count = len(program.steps)
    return {
        range(first, end): _cost(wiring, range(first, end))
        for first in range(count)
        for end in range(first + 1, min(first + MAX_GROUP, count) + 1)
    }


def _cost(wiring: Wiring, group: range) -> int:
    program = wiring.program
    puller = Puller(wiring, group.start)
    puller.run_group(group)
    steps = [program.steps[number] for number in group]
    total = sum(step.state for step in steps) + max(step.scratch for step in steps)
    for life in take_over(wiring, steps, list(puller.lives.values())):
        first, last = life.tensors[0], life.tensors[-1]
        whole = life.written[0] < 0 or wiring.is_kept(last, group)
        rows = wiring.heights[first] if whole else life.rows()
        total += rows * program.layout(first).row_bytes
    for tensor, producer in wiring.producers.items():
        if tensor not in puller.lives and wiring.is_kept(tensor, group):
            readers = wiring.consumers.get(tensor, [])
            made = min(readers, default=0) if producer == INPUT else producer
            if made < group.start:
                total += wiring.heights[tensor] * program.layout(tensor).row_bytes
    return total


def _narrowest(costs: dict[range, int], count: int) -> int:
    """The least peak of any grouping of steps 0 .. count - 1."""
    best = [0] * (count + 1)
    for end in range(1, count + 1):
        starts = range(max(0, end - MAX_GROUP), end)
        best[end] = min(max(best[first], costs[range(first, end)]) for first in starts)
    return best[count]


def _fewest(costs: dict[range, int], count: int, limit: int) -> list[range]:
    """The grouping with the fewest groups among those whose costs are at most ``limit``; of those,
    the one with the least sum of costs."""
    best: list[tuple[int, int, int]] = [(0, 0, 0)]
    for end in range(1, count + 1):
        options = []
        for first in range(max(0, end - MAX_GROUP), end):
            cost = costs[range(first, end)]
            if cost <= limit and best[first][0] >= 0:
                options.append((best[first][0] + 1, best[first][1] + cost, first))
        best.append(min(options, default=(-1, 0, 0)))
    groups: list[range] = []
    end = count
    while end:
        groups.insert(0, range(best[end][2], end))
        end = best[end][2]
    return groups
