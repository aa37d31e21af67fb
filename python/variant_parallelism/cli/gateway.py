"""`vp gateway`: run the aggregator until Ctrl-C."""

from __future__ import annotations

from pathlib import Path

import typer


def command(
    fleet: Path = typer.Argument(..., help="The fleet file."),
    state_dir: Path = typer.Option(
        None, "--state-dir", help="Where counters are kept between runs.", show_default=False
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object per event."),
) -> None:
    """Find the nodes, combine their answers, and serve the local HTTP API."""
    import asyncio

    from variant_parallelism.fleet import load_fleet
    from variant_parallelism.gateway.program import run_gateway

    asyncio.run(run_gateway(load_fleet(fleet), state_dir, as_json))
