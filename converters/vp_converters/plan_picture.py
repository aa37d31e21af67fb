"""The memory plan as a drawing: the arena's bytes over the calls of an inference.

Here the drawing is laid out as boxes, lines and texts; plan_page writes them to files.
"""

from __future__ import annotations

import colorsys
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from vp_converters.ir import one_line
from vp_converters.planner import Buffer, Plan
from vp_converters.schedule import Wiring

WIDTH = 1200
HEIGHT = 640
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 24, 58, 60
_SMALL = 11
_INK, _FAINT, _PEAK = "#222222", "#8a8f98", "#c0392b"
_KINDS = {"progress": "#9aa0a8", "state": "#e3b04b", "scratch": "#cdd1d6"}
_CHARACTER = 0.56
"""Width of a character over its height, roughly."""


@dataclass(frozen=True)
class Box:
    """A buffer, or the band behind a group."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    title: str
    stroke: str = "none"


@dataclass(frozen=True)
class Line:
    """From (x1, y1) to (x2, y2)."""

    x1: float
    y1: float
    x2: float
    y2: float
    color: str
    is_dashed: bool = False


@dataclass(frozen=True)
class Text:
    """One line; ``anchor`` is "start", "middle" or "end" of it, y its base line."""

    x: float
    y: float
    text: str
    anchor: str = "start"
    size: int = _SMALL
    color: str = _INK


@dataclass(frozen=True)
class Picture:
    """Shapes to draw in this order on white, boxes first; lengths in pixels from the top left."""

    width: int
    height: int
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    texts: tuple[Text, ...]


def draw(plan: Plan, title: str) -> Picture:
    """The picture of a plan."""
    return _Drawing(plan, title).picture()


def peak_of(plan: Plan) -> tuple[int, int]:
    """(call, bytes) where most of the arena is in use."""
    times = sorted({max(buffer.first, 0) for buffer in plan.buffers})
    sizes = [sum(b.size for b in plan.buffers if b.first <= t <= b.last) for t in times]
    most = max(sizes)
    return times[sizes.index(most)], most


def _width(text: str) -> float:
    return len(text) * _SMALL * _CHARACTER


class _Drawing:
    def __init__(self, plan: Plan, title: str) -> None:
        self._plan = plan
        self._title = title
        self._producers = Wiring(plan.program).producers
        self._edges, self._places = self._axis()

    def _axis(self) -> tuple[list[int], list[float]]:
        """Calls where groups begin, and their x. The width of a group counts its steps as much as
        its calls, so that the late ones, with few rows, can be seen."""
        schedule = self._plan.schedule
        calls, steps = max(len(schedule.calls), 1), max(len(self._plan.program.steps), 1)
        edges, places, used = [0], [float(_LEFT)], 0.0
        for group in schedule.groups:
            ends = [schedule.spans[n][1] for n in group if n in schedule.spans]
            end = max(ends, default=edges[-1] - 1) + 1
            used += ((end - edges[-1]) / calls + len(group) / steps) / 2
            edges.append(end)
            places.append(_LEFT + used * (WIDTH - _LEFT - _RIGHT))
        if len(edges) == 1 or edges[-1] < len(schedule.calls):
            edges.append(len(schedule.calls) or 1)
            places.append(float(WIDTH - _RIGHT))
        return edges, places

    def _x(self, call: int) -> float:
        part = min(max(bisect_right(self._edges, call) - 1, 0), len(self._edges) - 2)
        begin, end = self._edges[part], self._edges[part + 1]
        share = min(max(call - begin, 0) / max(end - begin, 1), 1.0)
        return self._places[part] + share * (self._places[part + 1] - self._places[part])

    def _y(self, offset: float) -> float:
        share = offset / max(self._plan.arena_size, 1)
        return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)

    def picture(self) -> Picture:
        boxes = [*self._bands(), *(self._box(buffer) for buffer in self._plan.buffers)]
        texts = [*self._heading(), *self._labels(), *self._group_names()]
        lines: list[Line] = []
        for offset in self._byte_ticks():
            y = self._y(offset)
            lines.append(Line(_LEFT - 5, y, _LEFT, y, _FAINT))
            texts.append(Text(_LEFT - 9, y + 4, f"{offset:,}", "end"))
        base = self._y(0)
        lines += [
            Line(_LEFT, _TOP, _LEFT, base, _FAINT),
            Line(_LEFT, base, WIDTH - _RIGHT, base, _FAINT),
        ]
        call, size = peak_of(self._plan)
        x = (self._x(call) + self._x(call + 1)) / 2
        lines.append(Line(x, _TOP - 8, x, base, _PEAK, is_dashed=True))
        side = "start" if x < WIDTH / 2 else "end"
        texts.append(
            Text(
                x + (5 if side == "start" else -5),
                _TOP - 8,
                f"peak: {size:,} bytes",
                side,
                12,
                _PEAK,
            )
        )
        return Picture(WIDTH, HEIGHT, tuple(boxes), tuple(lines), tuple(texts))

    def _heading(self) -> Iterator[Text]:
        summary = f"{self._title}: arena {self._plan.arena_size:,} bytes"
        yield Text(_LEFT, 22, summary, size=16)
        calls = f"{len(self._plan.schedule.calls):,} calls"
        note = f"{calls}; the width of a group counts its steps and its calls"
        yield Text(WIDTH - _RIGHT, HEIGHT - 10, note, "end", color=_FAINT)
        yield Text(12, _TOP - 8, "bytes", color=_FAINT)

    def _bands(self) -> Iterator[Box]:
        top, base = self._y(self._plan.arena_size), self._y(0)
        for number, (left, right) in enumerate(pairwise(self._places)):
            fill = "#eef1f5" if number % 2 == 0 else "#f8f9fb"
            yield Box(left, top, right - left, base - top, fill, self._group_title(number))

    def _group_title(self, number: int) -> str:
        groups, steps = self._plan.schedule.groups, self._plan.program.steps
        if number >= len(groups):
            return "input"
        names = [f"{steps[n].operator} {steps[n].op_index}" for n in groups[number]]
        return f"group {number}: {', '.join(names)}"

    def _group_names(self) -> Iterator[Text]:
        """As many numbers of groups, and of operators below, as there is room for."""
        base, taken = self._y(0), -1e9
        for number, group in enumerate(self._plan.schedule.groups):
            left, right = self._places[number], self._places[number + 1]
            middle = (left + right) / 2
            steps = [self._plan.program.steps[n].op_index for n in group]
            name = str(number)
            span = f"op {steps[0]}" if len(steps) == 1 else f"ops {steps[0]}-{steps[-1]}"
            width = max(_width(name), _width(span) if right - left > 60 else 0)
            if middle - width / 2 < taken + 4:
                continue
            taken = middle + width / 2
            yield Text(middle, base + 16, name, "middle")
            if right - left > 60:
                yield Text(middle, base + 31, span, "middle", color=_FAINT)
        yield Text(_LEFT - 9, base + 16, "group", "end", color=_FAINT)

    def _box(self, buffer: Buffer) -> Box:
        left, right = self._x(buffer.first), self._x(buffer.last + 1)
        top = self._y(buffer.end)
        height = self._y(buffer.offset) - top
        fill = _KINDS.get(buffer.kind) or self._color(buffer)
        title = self._describe(buffer)
        return Box(left, top, max(right - left, 0.8), max(height, 0.5), fill, title, "#ffffff")

    def _color(self, buffer: Buffer) -> str:
        number = self._producers[buffer.tensors[0]] + 1
        red, green, blue = colorsys.hls_to_rgb(number * 0.381966 % 1, 0.74, 0.55)
        return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"

    def _short(self, buffer: Buffer) -> str:
        if buffer.kind != "rows":
            return buffer.kind
        numbers = [self._producers[tensor] for tensor in buffer.tensors]
        steps = self._plan.program.steps
        return " + ".join(f"{steps[n].op_index}" if n >= 0 else "input" for n in numbers)

    def _describe(self, buffer: Buffer) -> str:
        program = self._plan.program
        place = f"bytes {buffer.offset:,} to {buffer.end - 1:,} ({buffer.size:,})"
        last = min(buffer.last, len(self._plan.schedule.calls) - 1)
        during = f"calls {max(buffer.first, 0):,} to {max(last, 0):,}"
        if buffer.kind != "rows":
            indices = ", ".join(str(program.steps[n].op_index) for n in buffer.steps)
            users = f" of operators {indices}" if indices else ", where the inference stands"
            return f"{buffer.kind}{users}: {place}, {during}"
        names = []
        for tensor in buffer.tensors:
            number = self._producers[tensor]
            step = program.steps[number] if number >= 0 else None
            name = one_line(program.graph.tensors[tensor].name, 48)
            names.append(
                f"{f'{step.operator} {step.op_index}' if step else 'input'} {name}".strip()
            )
        height = program.height(buffer.tensors[0])
        rows = f"{buffer.rows} of {height} rows of {buffer.row_bytes:,} bytes"
        return f"{', then '.join(names)}: {rows}, {place}, {during}"

    def _labels(self) -> Iterator[Text]:
        for buffer in self._plan.buffers:
            box, label = self._box(buffer), self._short(buffer)
            if buffer.kind == "rows":
                height = self._plan.program.height(buffer.tensors[0])
                longer = f"{label}: {buffer.rows} of {height} rows"
                label = longer if height > 1 and _width(longer) < box.width / 2 else label
            if box.height < _SMALL + 2 or box.width < _width(label) + 4:
                continue
            yield Text(box.x + box.width / 2, box.y + box.height / 2 + 4, label, "middle")

    def _byte_ticks(self) -> list[int]:
        size = self._plan.arena_size
        step = 1
        while size / step > 8:
            step *= 5 if str(step)[0] == "2" else 2
            step = int(str(step)[0] + "0" * (len(str(step)) - 1))
        return [*range(0, size, step)]
