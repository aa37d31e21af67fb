"""`vp compile`: an int8 .tflite model becomes a folder of C99."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from variant_parallelism.cli.sizes import parse_bytes
from variant_parallelism.errors import VpError

if TYPE_CHECKING:
    from vp_converters import CompiledModel
    from vp_converters.check import CheckResult


def command(
    model: Annotated[Path, typer.Argument(help="An int8 .tflite file.")],
    out: Annotated[Path, typer.Option(help="Folder to write; created if it is missing.")],
    name: Annotated[
        str | None, typer.Option(help="C identifier; default: the file's name.")
    ] = None,
    kernels: Annotated[
        str, typer.Option(help="portable (C99), dsp (Cortex-M4, M7, M33) or mve (Cortex-M55).")
    ] = "portable",
    ram: Annotated[
        str | None,
        typer.Option(
            metavar="BYTES", help="Fastest plan with an arena of so much (64K, 1M); else smallest."
        ),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what was fused, and why not more.")
    ] = False,
    plan: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Draw the arena over time: .html, .svg, .png; - prints a table."
        ),
    ] = None,
    check: Annotated[
        int, typer.Option(min=0, help="Compare this many random inputs with tflite_micro.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compile MODEL into OUT and print what it needs."""
    try:
        from vp_converters import load_model
        from vp_converters.plan_page import check_suffix, write_plan
    except ImportError as error:
        raise VpError(
            f"the compiler needs {error.name}: pip install 'variant-parallelism[convert]'"
        ) from None
    picture = Path(plan) if plan not in (None, "-") else None
    if picture is not None:
        check_suffix(picture)
    budget = None if ram is None else parse_bytes("--ram", ram)
    compiled = load_model(model, name, kernels, budget)
    compiled.write(out)
    if picture is not None:
        write_plan(compiled, picture)
    result = _check(compiled, check) if check else None
    if as_json:
        _print_json(compiled, explain, result)
    else:
        _print(compiled, out, explain, with_plan=plan == "-")
        if picture is not None:
            print(picture)
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


def _print_json(
    compiled: CompiledModel, with_explanation: bool, result: CheckResult | None
) -> None:
    report = compiled.report()
    if with_explanation:
        from vp_converters.explain import explain

        report |= {"explain": explain(compiled).as_json()}
    if result is not None:
        report |= {"inputs_checked": result.inputs, "mismatches": result.mismatches}
    print(json.dumps(report))


def _print(compiled: CompiledModel, out: Path, with_explanation: bool, with_plan: bool) -> None:
    from rich.console import Console

    from variant_parallelism.cli.compile_print import print_buffers, print_explanation, print_steps

    console = Console()
    if with_explanation:
        print_explanation(console, compiled)
    else:
        print_steps(console, compiled)
    if with_plan:
        print_buffers(console, compiled)
    print(f"{out / compiled.name}.c, model {compiled.hash.hex()}, {compiled.kernels} kernels")
    print(f"arena    {compiled.arena_size:>12,} bytes")
    print(f"weights  {compiled.weight_bytes:>12,} bytes")
    print(f"MACs     {compiled.macs:>12,}")
