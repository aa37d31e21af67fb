"""`vp classify`: send images to a fleet and print its answers."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

_NAMED = 3
"""Images without an answer that the error names."""


def command(
    fleet: Path = typer.Argument(..., help="The fleet file."),
    images: list[Path] = typer.Argument(..., help="PNG or JPEG files."),
    k: int = typer.Option(
        None, "--k", help="Entries of each node's answer.", show_default="the fleet's"
    ),
    deadline_ms: float = typer.Option(
        None, "--deadline-ms", help="Longest wait for an answer.", show_default="the fleet's"
    ),
    state_dir: Path = typer.Option(
        None, "--state-dir", help="Where counters are kept between runs.", show_default=False
    ),
    mqtt: str = typer.Option(
        None,
        "--mqtt",
        help="Ask all gateways of the fleet, through this broker: mqtt://host:port.",
        show_default=False,
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON list."),
) -> None:
    """Use the running gateway of this fleet, or else run one for the duration."""
    import asyncio

    from variant_parallelism.cli.answers import AnswerLines, AnswerList
    from variant_parallelism.client import find_gateway
    from variant_parallelism.errors import VpError
    from variant_parallelism.fleet import load_fleet
    from variant_parallelism.gateway.program import classify_by_gateway, classify_images
    from variant_parallelism.images import read_image

    loaded = load_fleet(fleet)
    pixels = [read_image(path, loaded.manifest.input) for path in images]
    printed = AnswerList("image") if as_json else AnswerLines(loaded.manifest.classes)
    unanswered: list[Path] = []

    progress = _Progress(len(images))

    def show(index: int, answer: dict[str, Any], down: dict[int, str]) -> None:
        printed.add(str(images[index]), answer, down)
        progress.advance()
        if answer["class"] is None:
            unanswered.append(images[index])

    client = find_gateway(loaded) if mqtt is None else None
    try:
        if mqtt is not None:
            from variant_parallelism.workers.address import table_for
            from variant_parallelism.workers.program import classify_by_broker

            table = table_for(loaded, mqtt)
            asyncio.run(classify_by_broker(loaded, table, pixels, k, deadline_ms, show))
        elif client is not None:
            client.close()
            asyncio.run(classify_by_gateway(loaded, pixels, k, deadline_ms, show))
        else:
            asyncio.run(classify_images(loaded, pixels, k, deadline_ms, state_dir, show))
    finally:
        progress.end()
        printed.end()
    if unanswered:
        named = ", ".join(map(str, unanswered[:_NAMED]))
        more = f" and {len(unanswered) - _NAMED} more" if len(unanswered) > _NAMED else ""
        raise VpError(f"no node answered for {named}{more}; see the reasons above")


class _Progress:
    """A bar on a terminal, after a few seconds, where the answers themselves go elsewhere."""

    _AFTER_S = 3.0

    def __init__(self, total: int) -> None:
        self._total = total
        self._count = 0
        self._bar: Progress | None = None
        self._wanted = sys.stderr.isatty() and not sys.stdout.isatty()
        self._since = time.monotonic()

    def advance(self) -> None:
        self._count += 1
        if not self._wanted or time.monotonic() - self._since < self._AFTER_S:
            return
        if self._bar is None:
            from rich.console import Console
            from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

            self._bar = Progress(
                *Progress.get_default_columns()[:2],
                MofNCompleteColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
                # Else it would print the answers itself.
                redirect_stdout=False,
            )
            self._bar.add_task("images", total=self._total)
            self._bar.start()
        self._bar.update(self._bar.task_ids[0], completed=self._count)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
