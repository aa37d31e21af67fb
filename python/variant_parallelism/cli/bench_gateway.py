"""`vp bench-gateway`: what the gateway can do on this machine, with virtual nodes."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from variant_parallelism.errors import VpError

_MOST_NODES = 10_000


def command(
    nodes: Annotated[str, typer.Option(help="Sizes of the fleets, separated by commas.")] = (
        "8,100,1000"
    ),
    seconds: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Length of each measurement.")
    ] = 3.0,
    in_flight: Annotated[int, typer.Option(min=1, max=64, help="Requests at a time.")] = 4,
    rate: Annotated[
        float, typer.Option(min=1, max=1000, help="Triggers a second where latency is measured.")
    ] = 50.0,
    answers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Measure memory instead, over so many answers of the first fleet."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the nodes.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run virtual nodes against the gateway over loopback, beside two bounds.

    Every fleet's nodes run on one core; on another, one after the other: loops that receive and
    throw away, a gateway in plain Python, and the gateway itself.
    """
    from rich.console import Console
    from rich.progress import Progress

    from variant_parallelism.gateway_bench.report import WIDTH, table, verdicts
    from variant_parallelism.gateway_bench.report import as_json as report
    from variant_parallelism.gateway_bench.run import KINDS, Options, cores, run_benchmark

    options = Options(_sizes(nodes), seconds, in_flight, rate, answers, seed)
    errors = Console(stderr=True)
    if cores() == (None, None):
        errors.print("one core for both sides: they share it, and the figures suffer")
    steps = 1 if answers is not None else len(options.nodes) * len(KINDS)
    done = 0
    try:
        with Progress(console=errors, transient=True, disable=not errors.is_terminal) as bar:
            task = bar.add_task("", total=float(steps))

            def tell(what: str, share: float) -> None:
                nonlocal done
                bar.update(task, description=what, completed=done + share)
                done += share == 1.0

            measured = run_benchmark(options, tell)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    if as_json:
        print(json.dumps(report(measured)))
    else:
        console = Console(width=None if Console().is_terminal else WIDTH)
        console.print(table(measured))
        for line in verdicts(measured):
            console.print(line, highlight=False, soft_wrap=True)
    if any(one.wrong for one in measured):
        raise VpError("some answers are not what the nodes said")


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(size) for size in text.split(","))
    except ValueError:
        raise VpError(f"--nodes {text}: give numbers, such as 8,100,1000") from None
    if not all(1 <= size <= _MOST_NODES for size in sizes):
        raise VpError(f"--nodes {text}: a fleet has 1 to {_MOST_NODES} nodes here")
    return sizes
