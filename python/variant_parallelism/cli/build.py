"""`vp build`: the firmware images of a fleet, or of every variant of a manifest."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from variant_parallelism.cli.runtime import Runtime, TflmPath, open_tflm
from variant_parallelism.cli.sizes import parse_bytes
from variant_parallelism.errors import VpError

if TYPE_CHECKING:
    from rich.console import Console

    from variant_parallelism.firmware import Image
    from variant_parallelism.firmware.tflm_checkout import TflmCheckout


def command(
    source: Annotated[Path, typer.Argument(help="A fleet.toml, or a manifest.json.")],
    board: Annotated[
        str | None, typer.Option(help="Build for this board [the fleet's; mps2-an386].")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the build trees.")] = Path("build/firmware"),
    ram: Annotated[
        str | None,
        typer.Option(
            metavar="BYTES",
            help="Fastest plan with an arena of so much (64K, 1M); else the smallest.",
        ),
    ] = None,
    runtime: Runtime = "compiled",
    tflm_path: TflmPath = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
) -> None:
    """Build the firmware images that SOURCE needs and print what they take."""
    from rich.console import Console

    console = Console(stderr=True)
    checkout = open_tflm(runtime, tflm_path)
    if checkout is not None and ram is not None:
        raise VpError("--ram is for compiled models: the tflm runtime plans its own memory")
    budget = None if ram is None else parse_bytes("--ram", ram)
    images = _build(source, board, out, console, checkout, budget)
    for image in images:
        if image.warning is not None:
            print(f"warning: {image.warning}", file=sys.stderr)
    if as_json:
        print(json.dumps([image.as_json() for image in images]))
    else:
        _print(images)


def _build(
    source: Path,
    board: str | None,
    out: Path,
    console: Console,
    tflm: TflmCheckout | None,
    ram: int | None,
) -> list[Image]:
    from variant_parallelism.firmware import build_fleet, build_images
    from variant_parallelism.fleet import load_fleet
    from variant_parallelism.manifest import load_manifest

    if source.suffix == ".toml":
        fleet = load_fleet(source)
        if board is None:
            images = build_fleet(fleet, out, console, tflm, ram).values()
            return list({(image.variant, image.board): image for image in images}.values())
        variants = sorted({node.variant for node in fleet.nodes})
        return build_images(fleet.manifest_path, variants, board, out, console, tflm, ram)
    variants = [variant.name for variant in load_manifest(source).variants]
    return build_images(source, variants, board or "mps2-an386", out, console, tflm, ram)


def _print(images: list[Image]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for head in ("variant", "board"):
        table.add_column(head, no_wrap=True)
    for head in ("flash", "of", "RAM", "of", "arena", "stack"):
        table.add_column(head, justify="right")
    for image in images:
        numbers = (image.flash, image.flash_available, image.ram, image.ram_available)
        table.add_row(
            image.variant,
            image.board,
            *(f"{number:,}" for number in (*numbers, image.arena, image.stack)),
        )
    Console().print(table)
    for image in images:
        print(image.elf)
