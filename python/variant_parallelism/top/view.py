"""`vp top` on a console of a given size."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from variant_parallelism.api import AnswerEvent, Vote
from variant_parallelism.plain_text import plain
from variant_parallelism.top.model import SORTS, Model, Row, latency_ms

NONE = "-"
_STYLES = {
    "up": "green",
    "late": "yellow",
    "quarantined": "blue",
    "unknown": "dim",
    "refused": "magenta",
    "dead": "red",
}
_BARS = " ▁▂▃▄▅▆▇█"
_MIN_ANSWERS = 3
_MOST_ANSWERS = 10
_WIDE = 100
_NAME = 16
_FIXED_LINES = 6
"""The title, the figures, the charts, the table's head, the news and the keys."""


def render(model: Model, width: int, height: int, *, live: bool = True) -> RenderableType:
    """The fleet on `width` x `height` characters; not `live`: whole, without answers and keys."""
    if model.polled is None:
        return Group(_title(model), _line(model.trouble or "connecting", "yellow"))
    rows = model.rows()
    lines: list[RenderableType] = [_title(model), _figures(model, rows), _charts(model, width)]
    if not live:
        return Group(*lines, _table(rows, width))
    room = max(2, height - _FIXED_LINES)
    least = _MIN_ANSWERS if room >= 4 * _MIN_ANSWERS else 0
    answers = min(_MOST_ANSWERS, max(least, room - len(rows) - 1))
    most = room - (answers + 1 if answers else 0)
    shown = rows if len(rows) <= most else rows[: most - 1]
    lines += [_table(shown, width), *_rest(rows, shown)]
    lines += [Text()] * (most - len(shown) - (len(rows) > len(shown)))
    lines += _answers(model, answers, width) if answers else []
    return Group(*lines, _line(model.news, "dim"), _keys(model))


def _line(text: str, style: str = "") -> Text:
    return Text(plain(text), style=style, no_wrap=True, overflow="ellipsis")


def _title(model: Model) -> Text:
    text = Text("vp top", style="bold", no_wrap=True, overflow="ellipsis")
    if model.polled is not None:
        text.append(f"  {plain(model.polled.fleet.fleet)}", style="bold cyan")
    if model.trouble is None:
        text.append("  ● live" if model.polled else "", style="green")
    elif model.polled is not None:
        text.append(f"  ○ {plain(model.trouble)}: trying again", style="bold red")
    return text


def _figures(model: Model, rows: Sequence[Row]) -> Text:
    assert model.polled is not None
    counters, history = model.polled.counters, model.polled.history
    up = sum(row.node.state == "up" for row in rows)
    latency = _last(history["latency_p50_ms"])
    labelled, correct = sum(history["labelled"]), sum(history["correct"])
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(f"{up} of {len(rows)} up", style="bold green" if up == len(rows) else "bold yellow")
    rate = _last(_rates(history)) if model.rate is None else model.rate
    text.append(f"  {NONE if rate is None else f'{rate:,.1f}'} answers/s")
    text.append(f"  median {milliseconds(latency)}")
    right = percent(correct / labelled) if labelled else NONE
    text.append(f"  right {right}")
    text.append(f" of {labelled:,}" if labelled else "", style="dim")
    text.append("  lost ")
    text.append(f"{counters.lost:,}", style="bold red" if counters.lost else "")
    text.append(f" of {counters.requests:,}", style="dim")
    return text


def _charts(model: Model, width: int) -> Text:
    """Answers a second, latency and right answers over ten minutes, as rows of small bars."""
    assert model.polled is not None
    history = model.polled.history
    cells = max(8, (width - 33) // 3)
    right = [
        correct / labelled if labelled else None
        for correct, labelled in zip(history["correct"], history["labelled"], strict=True)
    ]
    text = Text(no_wrap=True, overflow="crop").append("10 min  ", style="dim")
    for name, values, style in (
        ("answers/s", _rates(history), "cyan"),
        ("ms", history["latency_p50_ms"], "yellow"),
        ("right", right, "green"),
    ):
        text.append(f"{name} ", style="dim")
        text.append(spark(values, cells), style=style)
        text.append("  ")
    return text


def _rates(history: dict[str, Any]) -> list[float | None]:
    """Answers a second, point by point."""
    return [
        count / seconds if seconds > 1 else None
        for count, seconds in zip(history["answered"], history["seconds"], strict=True)
    ]


def _last(values: Sequence[float | None]) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)


def spark(values: Sequence[float | None], cells: int) -> str:
    """Small bars of the newest values, from 0 to the largest; blank where none is known."""
    per = max(1, -(-len(values) // cells))
    groups = [
        [value for value in values[max(0, end - per) : end] if value is not None]
        for end in range(len(values), 0, -per)
    ][::-1]
    means = [sum(group) / len(group) if group else None for group in groups]
    top = max((mean for mean in means if mean is not None), default=0.0) or 1.0
    bars = (" " if mean is None else _BARS[1 + round(7 * mean / top)] for mean in means)
    return "".join(bars).rjust(cells)[-cells:]


def _table(rows: Sequence[Row], width: int) -> Table:
    wide = width >= _WIDE
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim", expand=True)
    table.add_column("node", justify="right", no_wrap=True, min_width=4)
    table.add_column("variant", no_wrap=True, min_width=7, max_width=14)
    if wide:
        table.add_column("board", no_wrap=True, max_width=18)
    table.add_column("link", no_wrap=True, min_width=6)
    table.add_column("state", no_wrap=True, min_width=11)
    for name, least in (("latency", 7), ("agrees", 6), ("up", 6), ("votes", 5), ("lost", 4)):
        table.add_column(name, justify="right", no_wrap=True, min_width=least)
    table.add_column("", no_wrap=True, ratio=1, overflow="ellipsis")
    for row in rows:
        node = row.node
        note = node.reason if row.state not in ("up", "late") else ""
        if node.fault is not None:
            note = f"{' '.join(node.fault.bits) or 'fault'} at {node.fault.pc}"
        table.add_row(
            str(node.id),
            Text(plain(node.variant)),
            *([Text(plain(node.board))] if wide else []),
            node.transport,
            Text(row.state, style=_STYLES[row.state]),
            milliseconds(latency_ms(node)),
            percent(row.agreement),
            percent(row.available),
            f"{node.counters.answers:,}",
            f"{node.counters.lost:,}",
            Text(plain(note), style="dim" if node.fault is None else "yellow"),
        )
    return table


def _rest(rows: Sequence[Row], shown: Sequence[Row]) -> list[Text]:
    more = len(rows) - len(shown)
    return [_line(f"... and {more} more", "dim")] if more else []


def _answers(model: Model, count: int, width: int) -> list[Text]:
    head = "answers (a sample)" if model.sampled else "answers"
    lines = [Text(f"── {head} ".ljust(width, "─"), style="dim", no_wrap=True, overflow="crop")]
    lines += [_answer(model, answer, width) for answer in list(model.answers)[:count]]
    return lines + [Text()] * (count + 1 - len(lines))


def _answer(model: Model, answer: AnswerEvent, width: int) -> Text:
    assert model.polled is not None
    nodes, classes = model.polled.nodes, model.polled.fleet.classes
    column = min(_NAME, max(9, max(map(len, classes))))
    local = datetime.fromisoformat(answer.time).astimezone()
    text = Text(no_wrap=True, overflow="ellipsis").append(f"{local:%H:%M:%S}  ", style="dim")
    name = "no answer" if answer.name is None else plain(answer.name)
    text.append(f"{name[:column]:<{column}} ", style="bold red" if answer.name is None else "bold")
    text.append(f"{percent(answer.score):>6} {milliseconds(answer.latency_ms):>8}  ")
    verdict = ""
    if answer.label is not None:
        known = classes[answer.label] if 0 <= answer.label < len(classes) else str(answer.label)
        verdict = "right" if answer.label == answer.class_index else f"is {plain(known)}"
    verdict = verdict[: column + 3].ljust(column + 3)
    text.append(f"{verdict}  ", style="green" if verdict.startswith("right") else "red")
    votes = {vote.node: vote for vote in answer.votes}
    marks = [_vote(votes.get(one.id), one.id in answer.spared, answer.class_index) for one in nodes]
    if text.cell_len + len(marks) <= width:
        return text.append_tokens(marks)
    counts = Counter(mark for mark, _ in marks)
    for mark, style in (("■", "green"), ("◆", "yellow"), ("·", "dim")):
        text.append(f"{counts[mark]} {mark}  ", style=style)
    return text


def _vote(vote: Vote | None, spared: bool, winner: int | None) -> tuple[str, str]:
    if vote is None:
        return (" ", "") if spared else ("·", "dim")
    agrees = vote.entries[0][0] == winner
    style = "green" if agrees else "yellow"
    return "■" if agrees else "◆", style if vote.counted else f"dim {style}"


def _keys(model: Model) -> Text:
    text = Text(no_wrap=True, overflow="crop").append("q", style="bold").append("uit  sort:")
    for sort in SORTS:
        chosen = "reverse" if sort == model.sort else ""
        text.append(" ")
        text.append(f" {sort[0]}", style=f"bold {chosen}").append(f"{sort[1:]} ", style=chosen)
    text.append("   ■ agrees ◆ differs · no vote", style="dim")
    return text


def milliseconds(value: float | None) -> str:
    if value is None:
        return NONE
    if value < 999.5:
        return f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"
    return f"{value / 1000:.1f} s"


def percent(share: float | None) -> str:
    if share is None:
        return NONE
    # 99.96 % is not all of them.
    value = 100 * share if share == 1 else min(100 * share, 99.9)
    return f"{value:.0f} %" if value in (0, 100) or 1 <= value < 99 else f"{value:.1f} %"
