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
    from variant_parallelism.firmware import Image, Misfit

ALL = "all"
DEFAULT_BOARD = "mps2-an386"


def command(
    source: Annotated[Path, typer.Argument(help="A fleet.toml, or a manifest.json.")],
    board: Annotated[
        str | None,
        typer.Option(
            help="Build for this board, or for all there are.",
            show_default="the fleet's; mps2-an386",
        ),
    ] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(
            help="Build this variant; may be given several times.", show_default="all of SOURCE"
        ),
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

    from variant_parallelism.firmware import Image, Misfit, build_pairs

    console = Console(stderr=True)
    checkout = open_tflm(runtime, tflm_path)
    if checkout is not None and ram is not None:
        raise VpError("--ram is for compiled models: the tflm runtime plans its own memory")
    budget = None if ram is None else parse_bytes("--ram", ram)
    manifest, pairs = _pairs(source, board, variant)
    results = build_pairs(manifest, pairs, out, console, checkout, budget)
    images = [result for result in results if isinstance(result, Image)]
    misfits = [result for result in results if isinstance(result, Misfit)]
    for image in images:
        if image.warning is not None:
            print(f"warning: {image.warning}", file=sys.stderr)
    if as_json:
        print(json.dumps([result.as_json() for result in results]))
    else:
        _print(results)
    if len(misfits) == 1:
        raise VpError(misfits[0].reason)
    if misfits:
        raise VpError(f"{len(misfits)} of {len(results)} images do not fit their boards")


def _pairs(
    source: Path, board: str | None, only: list[str] | None
) -> tuple[Path, list[tuple[str, str]]]:
    """The manifest, and which variants are wanted for which boards."""
    from variant_parallelism.firmware import board_names, load_board
    from variant_parallelism.fleet import load_fleet
    from variant_parallelism.manifest import load_manifest

    if source.suffix == ".toml":
        fleet = load_fleet(source)
        path = fleet.manifest_path
        own = sorted({(node.variant, node.board) for node in fleet.nodes})
        names = sorted({node.variant for node in fleet.nodes})
    else:
        path = source
        names = [variant.name for variant in load_manifest(source).variants]
        own = [(name, DEFAULT_BOARD) for name in names]
    for name in only or ():
        if name not in names:
            raise VpError(f"{source} has no variant {name!r}: it has {', '.join(names)}")
    if board is not None:
        boards = board_names() if board == ALL else [load_board(board).name]
        own = [(name, each) for each in boards for name in names]
    return path, [pair for pair in own if not only or pair[0] in only]


def _print(results: list[Image | Misfit]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from variant_parallelism.firmware import Image

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for head in ("variant", "board"):
        table.add_column(head, no_wrap=True)
    for head in ("flash", "of", "RAM", "of", "arena", "stack"):
        table.add_column(head, justify="right")
    for result in results:
        if isinstance(result, Image):
            table.add_row(result.variant, result.board, *_numbers(result))
        else:
            table.add_row(result.variant, result.board, "too large")
    Console().print(table)
    for result in results:
        print(result.elf if isinstance(result, Image) else result.reason)


def _numbers(image: Image) -> list[str]:
    numbers = (
        *(image.flash, image.flash_available, image.ram, image.ram_available),
        *(image.arena, image.stack),
    )
    return [f"{number:,}" for number in numbers]
