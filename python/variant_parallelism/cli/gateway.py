"""`vp gateway`: run the aggregator until Ctrl-C."""

from __future__ import annotations

from pathlib import Path

import typer

_HOMES = tuple(f"ExecStart={folder}/" for folder in ("/home", "/root", "/run/user"))
"""What `ProtectHome=yes` hides."""


def _print_unit(wanted: bool) -> None:
    if wanted:
        from variant_parallelism.gateway.systemd import unit_file

        text = unit_file()
        typer.echo(text, nl=False)
        at_home = [part for part in text.split() if part.startswith(_HOMES)]
        if at_home:
            typer.echo(
                f"warning: the service cannot run {at_home[0].removeprefix('ExecStart=')}: it sees "
                "no home folders. Install to /opt/vp, and print the unit with the vp there",
                err=True,
            )
        raise typer.Exit()


def command(
    fleet: Path = typer.Argument(..., help="The fleet file."),
    state_dir: Path = typer.Option(
        None, "--state-dir", help="Where counters are kept between runs.", show_default=False
    ),
    log_json: bool = typer.Option(
        False, "--log-json", help="Log one JSON object an event instead of a line for people."
    ),
    print_unit: bool = typer.Option(
        False,
        "--print-unit",
        callback=_print_unit,
        is_eager=True,
        help="Print the systemd unit vp-gateway@.service, and nothing else.",
    ),
) -> None:
    """Find the nodes, combine their answers, and serve the local HTTP API."""
    import asyncio

    from variant_parallelism.fleet import load_fleet
    from variant_parallelism.gateway.running import run_gateway

    asyncio.run(run_gateway(load_fleet(fleet), state_dir, log_json))
