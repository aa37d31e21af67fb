"""`vp trigger`: have the boards of a fleet capture inputs of their own, and print the answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer


def command(
    fleet: Path = typer.Argument(..., help="The fleet file."),
    count: int = typer.Option(1, "--count", min=1, help="Triggers to send."),
    every_s: float = typer.Option(
        0.0,
        "--every",
        min=0.0,
        metavar="SECONDS",
        help="Time from one trigger to the next; the next one waits for the answer.",
    ),
    k: int = typer.Option(
        None, "--k", help="Entries of each node's answer.", show_default="the fleet's"
    ),
    deadline_ms: float = typer.Option(
        None, "--deadline-ms", help="Longest wait for an answer.", show_default="the fleet's"
    ),
    state_dir: Path = typer.Option(
        None, "--state-dir", help="Where counters are kept between runs.", show_default=False
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON list."),
) -> None:
    """Use the running gateway of this fleet, or else run one for the duration."""
    import asyncio

    from variant_parallelism.cli.answers import AnswerLines, AnswerList
    from variant_parallelism.client import find_gateway
    from variant_parallelism.errors import VpError
    from variant_parallelism.fleet import load_fleet
    from variant_parallelism.gateway.program import trigger_by_gateway, trigger_fleet

    loaded = load_fleet(fleet)
    printed = AnswerList("trigger") if as_json else AnswerLines(loaded.manifest.classes)
    unanswered = 0

    def show(index: int, answer: dict[str, Any], down: dict[int, str]) -> None:
        nonlocal unanswered
        printed.add(index + 1 if as_json else f"trigger {index + 1}", answer, down)
        unanswered += answer["class"] is None

    client = find_gateway(loaded)
    try:
        if client is not None:
            client.close()
            asyncio.run(trigger_by_gateway(loaded, count, every_s, k, deadline_ms, show))
        else:
            asyncio.run(trigger_fleet(loaded, count, every_s, k, deadline_ms, state_dir, show))
    finally:
        printed.end()
    if unanswered:
        raise VpError(f"no node answered {unanswered} of {count} triggers; see the reasons above")
