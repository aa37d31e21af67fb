"""`vp demo`: boards that classify together, die one by one, and come back."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from variant_parallelism.errors import VpError

if TYPE_CHECKING:
    from rich.console import Console

    from variant_parallelism.demo.plan import Plan
    from variant_parallelism.demo.run import HostReference, OpenView
    from variant_parallelism.fleet import Fleet

_MIN_WIDTH, _MIN_HEIGHT = 78, 22


def command(
    fleet: Annotated[
        Path | None,
        typer.Option(help="A fleet file whose nodes are emulated.", show_default="models/digits"),
    ] = None,
    data: Annotated[
        str, typer.Option(help="`digits`, an image folder, or a .tar/.tar.xz/.zip of one.")
    ] = "digits",
    images: Annotated[
        int, typer.Option(min=1, help="Test images to stream with all boards up, at most.")
    ] = 450,
    seed: Annotated[int, typer.Option(help="Decides the order of deaths and the images.")] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the summary there as JSON.")
    ] = None,
    plain: Annotated[bool, typer.Option(help="Lines instead of the live view.")] = False,
    compare: Annotated[
        bool, typer.Option(help="Check every vote against this machine, bit for bit.")
    ] = True,
) -> None:
    """Boot emulated boards, stream test images through them, kill boards, bring them back."""
    from rich.console import Console
    from rich.progress import track

    from variant_parallelism.cli.emulated import build_images, example_fleet
    from variant_parallelism.demo.report import render
    from variant_parallelism.demo.run import check_fleet, load_images, run_demo
    from variant_parallelism.fleet import load_fleet

    if json_file is not None and not json_file.parent.is_dir():
        raise VpError(f"cannot write {json_file}: no folder {json_file.parent}")
    console = Console()
    loaded = load_fleet(fleet or example_fleet("digits"))
    check_fleet(loaded)
    dataset = load_images(
        loaded,
        data,
        lambda entries, total: track(
            entries, f"Reading {data}", total=total, console=console, transient=True
        ),
    )
    firmware = build_images(loaded, console)
    try:
        with tempfile.TemporaryDirectory(prefix="vp-demo-") as folder:
            summary = run_demo(
                loaded,
                dataset,
                firmware,
                Path(folder),
                lambda running, total: _view(console, running, total, plain),
                count=images,
                seed=seed,
                compare=compare,
                prepare=lambda reference, plan: _prepare(console, loaded, reference, plan),
            )
    except KeyboardInterrupt:
        console.print("\nstopped; all boards are off")
        raise typer.Exit(130) from None
    console.print(render(summary))
    if json_file is not None:
        partial = json_file.with_name(json_file.name + ".part")
        partial.write_text(json.dumps(summary.as_json(), indent=1) + "\n", encoding="utf-8")
        os.replace(partial, json_file)
    if summary.problems:
        raise typer.Exit(1)


def _view(console: Console, fleet: Fleet, total: int, plain: bool) -> OpenView:
    from variant_parallelism.demo.view import LiveView, PlainView

    big_enough = console.width >= _MIN_WIDTH and console.height >= _MIN_HEIGHT
    if plain or not console.is_terminal or not big_enough:
        return PlainView(lambda line: console.print(line, highlight=False, soft_wrap=True))
    return LiveView(console, fleet, total)


def _prepare(console: Console, fleet: Fleet, reference: HostReference, plan: Plan) -> None:
    from rich.progress import track

    variants = sorted({node.variant for node in fleet.nodes})
    for variant in track(
        variants, "Computing the votes on this machine", console=console, transient=True
    ):
        reference.prepare(variant, plan)
