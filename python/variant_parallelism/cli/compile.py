"""`vp compile`: an int8 .tflite model becomes a folder of C99."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from variant_parallelism.errors import VpError

if TYPE_CHECKING:
    from rich.console import Console

    from vp_converters import CompiledModel
    from vp_converters.check import CheckResult


def command(
    model: Annotated[Path, typer.Argument(help="An int8 .tflite file.")],
    out: Annotated[Path, typer.Option(help="Folder to write; created if it is missing.")],
    name: Annotated[
        str | None, typer.Option(help="C identifier; default: the file's name.")
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print the arena's buffers.")] = False,
    check: Annotated[
        int, typer.Option(min=0, help="Compare this many random inputs with tflite_micro.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compile MODEL into OUT and print what it needs."""
    try:
        from vp_converters import compile_model
    except ImportError as error:
        raise VpError(
            f"the compiler needs {error.name}: pip install 'variant-parallelism[convert]'"
        ) from None
    compiled = compile_model(model, out, name)
    result = _check(compiled, check) if check else None
    if as_json:
        report = compiled.report()
        if result is not None:
            report |= {"inputs_checked": result.inputs, "mismatches": result.mismatches}
        print(json.dumps(report))
    else:
        _print(compiled, out, plan)
        if result is not None:
            print(f"{result.inputs} inputs, {result.mismatches} mismatches")
    if result is not None and result.mismatches:
        raise VpError(f"{model} differs from tflite_micro: {result.first_difference}")


def _check(compiled: CompiledModel, count: int) -> CheckResult:
    from rich.console import Console
    from rich.progress import Progress

    from vp_converters.check import check_model

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("checking", total=count)
        return check_model(compiled, count, lambda done: bar.advance(task, done))


def _print(compiled: CompiledModel, out: Path, with_plan: bool) -> None:
    from rich.console import Console

    console = Console()
    _print_steps(console, compiled)
    if with_plan:
        _print_plan(console, compiled)
    print(f"{out / compiled.name}.c, model {compiled.hash.hex()}")
    print(f"arena    {compiled.arena_size:>12,} bytes")
    print(f"weights  {compiled.weight_bytes:>12,} bytes")
    print(f"MACs     {compiled.macs:>12,}")


def _print_steps(console: Console, compiled: CompiledModel) -> None:
    from rich import box
    from rich.table import Table

    heads = ("step", "operator", "kernel", "output", "MACs", "weights")
    table = Table(*heads, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[4:]:
        column.justify = "right"
    for number, step in enumerate(compiled.steps()):
        table.add_row(
            str(number),
            f"{step.operator} {step.op_index}",
            step.kernel,
            "x".join(map(str, step.shape)),
            f"{step.macs:,}",
            f"{step.weights:,}",
        )
    console.print(table)


def _print_plan(console: Console, compiled: CompiledModel) -> None:
    from rich import box
    from rich.table import Table

    heads = ("buffer", "offset", "bytes", "first step", "last step")
    table = Table(*heads, box=box.SIMPLE_HEAD, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    last = len(compiled.steps()) - 1
    for buffer in sorted(compiled.plan.buffers, key=lambda b: (b.first, b.offset)):
        label = ", ".join(f"tensor {t}" for t in buffer.tensors) or "scratch"
        first = "input" if buffer.first < 0 else str(buffer.first)
        end = "output" if buffer.last > last else str(max(buffer.last, 0))
        table.add_row(label, f"{buffer.offset:,}", f"{buffer.size:,}", first, end)
    console.print(table)
