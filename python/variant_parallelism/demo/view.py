"""The demo on a terminal: a live view, and plain lines where there is none."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from variant_parallelism.demo.picture import draw
from variant_parallelism.demo.scenario import Shot
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway import NodeStatus, Vote

_PICTURE_ROWS = 24
_PICTURE_COLUMNS = 32
_EVENTS = 4
_LATEST = 48
_REFRESH_HZ = 12
_STATE_STYLE = {
    "up": "green",
    "dead": "red",
    "unknown": "yellow",
    "refused": "red",
    "quarantined": "blue",
}


@dataclass
class Tally:
    """Right answers out of all."""

    right: int = 0
    total: int = 0

    def add(self, right: bool) -> None:
        self.right += right
        self.total += 1

    def __str__(self) -> str:
        return f"{100 * self.right / self.total:.1f} %" if self.total else "-"


class LiveView:
    """Redraws the picture, every node's vote, the answer and the state of the boards."""

    def __init__(self, console: Console, fleet: Fleet, images: int) -> None:
        self._console = console
        self._fleet = fleet
        self._images = images
        self._title = ""
        self._done = 0
        self._lost = 0
        self._shot: Shot | None = None
        self._nodes: Sequence[NodeStatus] = ()
        self._ensemble = Tally()
        self._single = {node.id: Tally() for node in fleet.nodes}
        self._events: deque[str] = deque(maxlen=_EVENTS)
        self._latest: deque[Shot] = deque(maxlen=_LATEST)
        self._live = Live(
            get_renderable=self._render, console=console, refresh_per_second=_REFRESH_HZ
        )

    def __enter__(self) -> LiveView:
        self._live.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.__exit__(kind, error, traceback)

    def phase(self, title: str, images: int) -> None:
        self._title = title
        self._ensemble = Tally()

    def shot(self, shot: Shot, nodes: Sequence[NodeStatus]) -> None:
        self._shot = shot
        self._nodes = nodes
        self._latest.append(shot)
        self._done += 1
        self._lost += shot.lost
        self._ensemble.add(shot.correct)
        for vote in shot.answer.votes:
            self._single[vote.node].add(vote.entries[0][0] == shot.sample.label)

    def event(self, text: str) -> None:
        self._events.append(text)

    def _render(self) -> RenderableType:
        title = f"Variant Parallelism · {self._fleet.table.name} · {self._title}"
        body = Table.grid(padding=(0, 1))
        body.add_column()
        body.add_column(ratio=1)
        body.add_row(self._picture(), Group(self._boards(), self._answer()))
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(ratio=1)
        bar.add_column(justify="right")
        bar.add_row(
            ProgressBar(total=self._images, completed=self._done),
            f"{self._done:,} of {self._images:,} images",
        )
        events = Text("\n".join(self._events) + "\n" * (_EVENTS - len(self._events)), style="dim")
        return Panel(Group(body, events, bar), title=title, box=box.ROUNDED)

    def _picture(self) -> RenderableType:
        if self._shot is None:
            return Text(" " * _PICTURE_COLUMNS)
        color = self._console.color_system is not None
        picture = draw(self._shot.sample.image, _PICTURE_ROWS, _PICTURE_COLUMNS, color=color)
        label = self._fleet.manifest.classes[self._shot.sample.label]
        return Group(picture, Text(f"label: {label}", style="bold"))

    def _boards(self) -> Table:
        table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
        for column, width in (("board", 6), ("line", 6), ("state", 5), ("vote", 8)):
            table.add_column(column, min_width=width, no_wrap=True)
        for column, width in (("score", 5), ("ms", 6), ("top-1", 7)):
            table.add_column(column, justify="right", min_width=width, no_wrap=True)
        shot = self._shot
        votes = {vote.node: vote for vote in shot.answer.votes} if shot else {}
        for status in self._nodes:
            table.add_row(
                f"{status.id} {status.variant}",
                status.transport,
                Text(status.state, style=_STATE_STYLE[status.state]),
                *self._vote(votes.get(status.id)),
                str(self._single[status.id]),
            )
        return table

    def _vote(self, vote: Vote | None) -> tuple[Text, str, str]:
        if vote is None or self._shot is None:
            return Text("-", style="dim"), "", ""
        index, score = vote.entries[0]
        right = index == self._shot.sample.label
        name = Text(self._fleet.manifest.classes[index], style="green" if right else "red")
        return name, f"{(score + 128) / 256:.2f}", f"{vote.latency_ms:.1f}"

    def _answer(self) -> RenderableType:
        if self._shot is None:
            return Text()
        answer = self._shot.answer
        text = Text("\nensemble: ")
        if answer.class_name is None or answer.score is None:
            text.append("no answer", style="bold red")
        else:
            style = "bold green" if self._shot.correct else "bold red"
            text.append(answer.class_name, style=style)
            text.append(f"  {answer.score:.2f}")
        text.append(f"  in {answer.latency_ms:.1f} ms\n")
        text.append(f"so far: {self._ensemble} right, ")
        text.append(f"{self._lost} lost\n", style="green" if self._lost == 0 else "bold red")
        for shot in self._latest:
            text.append("●", style="green" if shot.correct else "red" if not shot.lost else "white")
        return text


class PlainView:
    """One line an event and one every few seconds, for pipes and logs."""

    def __init__(
        self, print_line: Callable[[str], None], every_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._print = print_line
        self._every_s = every_s
        self._clock = clock
        self._images = 0
        self._ensemble = Tally()
        self._lost = 0
        self._next = 0.0

    def __enter__(self) -> PlainView:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None

    def phase(self, title: str, images: int) -> None:
        self._print(f"{title}: {images} images")
        self._images = images
        self._ensemble = Tally()
        self._lost = 0
        self._next = self._clock() + self._every_s

    def shot(self, shot: Shot, nodes: Sequence[NodeStatus]) -> None:
        if shot.phase == "death":
            answer = "lost" if shot.lost else f"answered in {shot.answer.latency_ms:.0f} ms"
            self._print(f"  the image on its way was {answer}")
            return
        self._ensemble.add(shot.correct)
        self._lost += shot.lost
        last = self._ensemble.total == self._images
        if last or self._clock() >= self._next:
            self._next = self._clock() + self._every_s
            self._print(
                f"  {self._ensemble.total} of {self._images}: {self._ensemble} right, "
                f"{self._lost} lost, last answer in {shot.answer.latency_ms:.1f} ms"
            )

    def event(self, text: str) -> None:
        self._print(text)
