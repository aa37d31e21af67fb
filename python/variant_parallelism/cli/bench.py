"""`vp bench`: what a model costs on an emulated board, and whether it answers as it should."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from variant_parallelism.cli.runtime import Runtime, TflmPath, open_tflm
from variant_parallelism.cli.sizes import parse_bytes
from variant_parallelism.errors import VpError

if TYPE_CHECKING:
    from rich.console import Console

    from vp_converters.bench import BenchResult


def command(
    models: Annotated[list[Path], typer.Argument(help="int8 .tflite files.", metavar="MODEL...")],
    board: Annotated[
        str, typer.Option(help="mps2-an386, mps2-an500 or mps3-an547.")
    ] = "mps2-an386",
    kernels: Annotated[
        str | None,
        typer.Option(help="portable, dsp or mve; default: the best that the board can run."),
    ] = None,
    ram: Annotated[
        str | None,
        typer.Option(
            metavar="BYTES", help="Fastest plan with an arena of so much (64K, 1M); else smallest."
        ),
    ] = None,
    inputs: Annotated[
        int, typer.Option(min=1, max=10_000, help="Random inputs to compare with tflite_micro.")
    ] = 30,
    runtime: Runtime = "compiled",
    tflm_path: TflmPath = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object; for several models a list.")
    ] = False,
) -> None:
    """Compile each MODEL, run it on an emulated BOARD and print what it needs."""
    try:
        from variant_parallelism.firmware.tflm_bench import bench_tflm
        from vp_converters.bench import bench_model, find_board
    except ImportError as error:
        raise VpError(
            f"the compiler needs {error.name}: pip install 'variant-parallelism[convert]'"
        ) from None
    find_board(board)
    checkout = open_tflm(runtime, tflm_path)
    if checkout is not None and (kernels is not None or ram is not None):
        raise VpError("--kernels and --ram are for compiled models: the tflm runtime has its own")
    budget = None if ram is None else parse_bytes("--ram", ram)
    results = []
    for model in models:
        if checkout is None:
            run = partial(bench_model, model, board, kernels, inputs, ram=budget)
        else:
            run = partial(bench_tflm, model, board, checkout, inputs)
        result = _with_progress(model.name, 2 * inputs, run)
        results.append(result)
        if not as_json:
            _print(result)
    if as_json:
        reports = [result.report() for result in results]
        print(json.dumps(reports[0] if len(reports) == 1 else reports))
    for model, result in zip(models, results, strict=True):
        if result.mismatches:
            raise VpError(
                f"{model} differs from tflite_micro for {result.mismatches} of "
                f"{result.inputs_checked} inputs: {result.difference}"
            )


def _with_progress(
    name: str, total: int, run: Callable[[Callable[[int], None]], BenchResult]
) -> BenchResult:
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(name, total=total)
        return run(lambda done: bar.advance(task, done))


def _print(result: BenchResult) -> None:
    from rich.console import Console

    console = Console()
    console.print(
        f"{result.model} on {result.board} ({result.core}), {result.kernels} kernels",
        highlight=False,
    )
    _print_operators(console, result)
    parts = result.footprint
    lines = [
        ("instructions", result.instructions, _per_mac(result.instructions, result.macs)),
        ("MACs", result.macs, ""),
        ("RAM", result.ram_bytes, f"arena {result.arena_bytes:,}, variables {parts.static:,}"),
        ("stack", result.stack_bytes, "beside the RAM above"),
        ("flash", parts.flash, f"code {parts.code:,}, constants {parts.constants:,}"),
        ("inputs checked", result.inputs_checked, " and ".join(result.compared)),
        ("mismatches", result.mismatches, result.difference or ""),
    ]
    for name, value, remark in lines:
        console.print(f"{name:<15}{value:>13,}  {remark}".rstrip(), highlight=False)
    console.print()


def _print_operators(console: Console, result: BenchResult) -> None:
    from rich import box
    from rich.table import Table

    heads = ("op", "kernel", "output", "MACs", "instructions", "per MAC", "share")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for head in heads:
        left = head in ("kernel", "output")
        table.add_column(head, justify="left" if left else "right", no_wrap=True)
    for one in result.operators:
        table.add_row(
            str(one.op_index),
            one.kernel,
            "x".join(map(str, one.shape[1:] or one.shape)),
            f"{one.macs:,}",
            f"{one.instructions:,}",
            f"{one.instructions / one.macs:.2f}" if one.macs else "",
            f"{one.instructions / result.instructions:.1%}",
        )
    share = f"{result.overhead / result.instructions:.1%}"
    table.add_row("", "schedule, input", "", "", f"{result.overhead:,}", "", share)
    console.print(table)


def _per_mac(instructions: int, macs: int) -> str:
    return f"{instructions / macs:.2f} per MAC" if macs else ""
