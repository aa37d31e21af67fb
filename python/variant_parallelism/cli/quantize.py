"""`vp quantize`: trained variants -> int8 .tflite files and their manifest."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from variant_parallelism.errors import VpError

if TYPE_CHECKING:
    from rich.table import Table

    from variant_parallelism.quantize import QuantizedFamily


def command(
    run: Annotated[Path, typer.Argument(help="A folder that `vp train` wrote.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to.", show_default="models/<run>")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Processes that measure int8 accuracy.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """Convert to int8, measure on the whole test split, write models and manifest."""
    from importlib.util import find_spec

    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for module in ("tensorflow", "keras"):
        if find_spec(module) is None:
            raise VpError(f"quantization needs {module}: pip install 'variant-parallelism[train]'")

    from rich.console import Console
    from rich.progress import track

    from variant_parallelism.quantize import quantize_family

    console = Console(stderr=True)
    result = quantize_family(
        run,
        out or Path("models") / run.name,
        jobs=jobs,
        track=lambda name, parts, count: track(
            parts, total=count, description=f"{name} int8", console=console, transient=True
        ),
    )
    if as_json:
        typer.echo(result.manifest.model_dump_json(by_alias=True, indent=1))
    else:
        Console().print(_table(result))


def _table(result: QuantizedFamily) -> Table:
    from rich.table import Table

    manifest = result.manifest
    table = Table("variant", "pixels", "parameters", "MACs", "float top-1", "int8 top-1", "bytes")
    for variant in manifest.variants:
        table.add_row(
            variant.name,
            str(variant.resolution),
            f"{variant.parameters:,}",
            f"{variant.macs:,}",
            f"{variant.float_top1:.2%}",
            f"{variant.int8_top1:.2%}",
            f"{result.sizes[variant.name]:,}",
        )
    table.add_section()
    whole, sparse = manifest.ensemble, f"{manifest.ensemble.int8_top1_k2:.2%}"
    table.add_row(
        "all", "", "", "", f"{whole.float_top1_full:.2%}", f"{whole.int8_top1_full:.2%}", ""
    )
    table.add_row("all, k=2", "", "", "", "", sparse, "")
    return table
