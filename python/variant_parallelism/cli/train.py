"""`vp train`: train the variants of a family."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from variant_parallelism.errors import VpError


class Backend(StrEnum):
    """The Keras backends."""

    tensorflow = "tensorflow"
    torch = "torch"
    jax = "jax"


def command(
    family: Annotated[str, typer.Option(help="digits, cifar10-tiny or paper.")] = "digits",
    data: Annotated[
        str | None,
        typer.Option(help="Image folder, .tar/.tar.xz/.zip of one, or `digits`."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run.", show_default="runs/<family>")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Variants trained at the same time.")] = 1,
    variants: Annotated[
        str | None, typer.Option(help="Only these variants, separated by commas.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the recipe's.")] = None,
    image_size: Annotated[
        int | None, typer.Option(min=4, max=4096, help="Bring all source images to this size.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on where an earlier run stopped.")] = True,
    backend: Annotated[Backend, typer.Option(help="Keras backend.")] = Backend.tensorflow,
) -> None:
    """Train each variant of a family; checkpoints after every epoch."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Table

    from variant_parallelism.families import get_family
    from variant_parallelism.training.datasets import check_source
    from variant_parallelism.training.run import train_family

    chosen = get_family(family, epochs=epochs, seed=seed)
    only = None if variants is None else [name.strip() for name in variants.split(",")]
    plan = chosen.needed_for(only)
    source = data or chosen.dataset
    if source is None:
        raise VpError(
            f"family {family} needs --data: an image folder, or a .tar/.tar.xz/.zip of one"
        )
    check_source(source)
    folder = out or Path("runs") / family
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
        console=console,
    ) as bars:
        tasks = {
            spec.name: bars.add_task(spec.name, total=None, start=False, visible=False, figures="")
            for spec in plan
        }

        def report(name: str, step: int, total: int, loss: float, accuracy: float) -> None:
            figures = f"loss {loss:.3f}  accuracy {accuracy:.3f}"
            bars.start_task(tasks[name])
            bars.update(tasks[name], completed=step, total=total, visible=True, figures=figures)

        results = train_family(
            chosen,
            source,
            folder,
            only=only,
            jobs=jobs,
            backend=backend.value,
            image_size=image_size,
            resume=resume,
            report=report,
            progress=lambda entries, count: bars.track(
                entries, task_id=bars.add_task("decode images", total=count, figures="")
            ),
        )

    table = Table("variant", "parameters", "MACs", "float top-1", "float top-5", "epochs", "time")
    for result in results:
        table.add_row(
            result.name,
            f"{result.parameters:,}",
            f"{result.macs:,}",
            f"{result.float_top1:.2%}",
            f"{result.float_top5:.2%}",
            str(result.epochs),
            f"{result.seconds:.0f} s",
        )
    Console().print(table)
    typer.echo(f"next: vp quantize {folder} --out models/{family}")
