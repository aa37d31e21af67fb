"""`vp aggregate`: a worker that combines the votes of several gateways."""

from __future__ import annotations

from pathlib import Path

import typer


def command(
    fleet: Path = typer.Argument(..., help="The fleet file of any of the gateways."),
    mqtt: str = typer.Option(
        None, "--mqtt", help="The broker: mqtt://host:port.", show_default="[workers]"
    ),
    log_json: bool = typer.Option(
        False, "--log-json", help="Log one JSON object an event instead of a line for people."
    ),
) -> None:
    """Combine what gateways publish; start as many as you like, stop any of them."""
    import asyncio

    from variant_parallelism.fleet import load_fleet
    from variant_parallelism.workers.address import table_for
    from variant_parallelism.workers.program import run_worker

    loaded = load_fleet(fleet)
    asyncio.run(run_worker(loaded, table_for(loaded, mqtt), log_json))
