"""How far the flashing is: bars that are redrawn on a terminal, lines in a pipe."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from variant_parallelism.flash.backend import Progress, Stage
from variant_parallelism.fleet import NodeTable

_DOING = {
    "erase": "erasing",
    "program": "programming",
    "verify": "verifying",
    "provision": "writing identity",
}
_DONE = {"program": "programmed", "verify": "verified"}


class Show(Protocol):
    """What a run tells people while it goes on."""

    def progress(self, node: NodeTable) -> Progress:
        """The callback for a node's stages."""

    def say(self, node: NodeTable, text: str) -> None:
        """What the node waits for now."""

    def end(self, node: NodeTable, text: str, good: bool) -> None:
        """How it ended, where several are flashed."""


@contextmanager
def shown(nodes: Sequence[NodeTable], quiet: bool = False) -> Iterator[Show]:
    """Progress of some nodes on stderr; nothing at all if `quiet`."""
    if quiet:
        yield _Silence()
    elif sys.stderr.isatty():
        with _bars(nodes) as show:
            yield show
    else:
        yield _Lines()


class _Silence:
    def progress(self, node: NodeTable) -> Progress:
        return lambda stage, done, total: None

    def say(self, node: NodeTable, text: str) -> None:
        pass

    def end(self, node: NodeTable, text: str, good: bool) -> None:
        pass


class _Lines:
    """One line at the end of a stage."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def progress(self, node: NodeTable) -> Progress:
        now: Stage | None = None
        began = last = time.monotonic()
        told: set[Stage] = set()

        def report(stage: Stage, done: int, total: int) -> None:
            nonlocal now, began, last
            if stage != now:
                now, began = stage, last
            last = time.monotonic()
            if done >= total and stage in _DONE and stage not in told:
                told.add(stage)
                self.say(node, f"{_DONE[stage]} {total:,} bytes in {last - began:.1f} s")

        return report

    def say(self, node: NodeTable, text: str) -> None:
        with self._lock:
            print(f"node {node.id}: {text}", file=sys.stderr, flush=True)

    def end(self, node: NodeTable, text: str, good: bool) -> None:
        with self._lock:
            print(text, file=sys.stderr, flush=True)


@contextmanager
def _bars(nodes: Sequence[NodeTable]) -> Iterator[Show]:
    columns = (
        TextColumn("node {task.fields[node]}"),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        yield _Bars(bars, nodes)


class _Bars:
    """One bar a node."""

    def __init__(self, bars: Bars, nodes: Sequence[NodeTable]) -> None:
        self._bars = bars
        self._tasks = {node.id: bars.add_task("waits", total=1, node=node.id) for node in nodes}

    def progress(self, node: NodeTable) -> Progress:
        task = self._tasks[node.id]

        def report(stage: Stage, done: int, total: int) -> None:
            self._bars.update(task, description=_DOING[stage], completed=done, total=total)

        return report

    def say(self, node: NodeTable, text: str) -> None:
        self._bars.update(self._tasks[node.id], description=text, total=None)

    def end(self, node: NodeTable, text: str, good: bool) -> None:
        self._bars.remove_task(self._tasks[node.id])
        self._bars.console.print(text, style=None if good else "red", highlight=False, markup=False)
