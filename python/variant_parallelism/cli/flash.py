"""`vp flash`, which is also `vp-flash`: programs boards, gives them identities, waits for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from variant_parallelism.errors import VpError

if TYPE_CHECKING:
    from variant_parallelism.fleet import Fleet

_UNKEYED = (
    "fleet {name} has no key, so anyone on the line can speak for its nodes: "
    '`openssl rand -hex 32 > fleet.key`, chmod 600, and key_file = "fleet.key" in {path}'
)


def command(
    fleet: Annotated[Path | None, typer.Argument(help="The fleet file.")] = None,
    node: Annotated[int | None, typer.Option(help="Id of the node to flash.")] = None,
    all_nodes: Annotated[
        bool, typer.Option("--all", help="Flash every node that is not emulated, in parallel.")
    ] = False,
    board: Annotated[
        str | None, typer.Option(help="The board, checked against the fleet file.")
    ] = None,
    way: Annotated[
        str | None,
        typer.Option(
            "--with",
            metavar="WAY",
            help="pyocd, uf2 or stm32-uart; else what the board has and is there.",
        ),
    ] = None,
    probe: Annotated[
        str | None, typer.Option(help="Unique id of the debug probe, or its beginning.")
    ] = None,
    port: Annotated[
        str | None, typer.Option(help="Serial port of an STM32's bootloader, if not the node's.")
    ] = None,
    drive: Annotated[str | None, typer.Option(help="Folder of the UF2 drive.")] = None,
    emulator: Annotated[
        str | None, typer.Option(help="Boot the node in qemu or renode instead.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="With --emulator: end once the node is up.")
    ] = False,
    image: Annotated[
        Path | None, typer.Option(help="An ELF file to program instead of building one.")
    ] = None,
    no_build: Annotated[
        bool, typer.Option("--no-build", help="Take the image as it was built last.")
    ] = False,
    provision_only: Annotated[
        bool, typer.Option("--provision-only", help="Write key and addresses, no image.")
    ] = False,
    uf2_out: Annotated[
        Path | None, typer.Option(help="Write the node's UF2 file instead, to copy by hand.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the build trees.")] = Path("build/firmware"),
    timeout: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds to wait for a HELLO; 0: do not.", show_default=False),
    ] = None,
    state_dir: Annotated[
        Path | None,
        typer.Option(help="Where counters are kept between runs.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Program a node's image and identity, verify them, and wait for its HELLO.

    Without arguments, list what is connected.
    """
    from variant_parallelism.cli import flash_run
    from variant_parallelism.flash.choose import Wish
    from variant_parallelism.fleet import load_fleet

    if fleet is None:
        if node is not None or all_nodes:
            raise VpError("which fleet? Give the fleet file, as in: vp-flash --node 1 fleet.toml")
        flash_run.show_seen(None, as_json)
        return
    loaded = load_fleet(fleet)
    if node is None and not all_nodes:
        flash_run.show_seen(loaded, as_json)
        return
    if node is not None and all_nodes:
        raise VpError("--node and --all exclude each other")
    if sum(map(bool, (image, no_build, provision_only))) > 1:
        raise VpError("--image, --no-build and --provision-only exclude each other")
    source = flash_run.Source(out, image, no_build, provision_only)
    if emulator is not None:
        if node is None:
            raise VpError("--emulator boots one node: name it, or boot all with vp emulate")
        flash_run.emulate(loaded, node, board, emulator, source, timeout, once, state_dir, as_json)
        return
    _warn_unkeyed(loaded)
    if uf2_out is not None:
        if node is None:
            raise VpError("--uf2-out writes one file for one node: name it with --node")
        flash_run.write_uf2(loaded, node, board, source, uf2_out, state_dir)
        return
    wish = Wish(way, probe, port, drive)
    if all_nodes and wish != Wish(way):
        raise VpError(
            "--probe, --port and --drive name one board: with --all, write probe and serial into "
            "the fleet file"
        )
    nodes = flash_run.chosen(loaded, node, board)
    flash_run.flash(loaded, nodes, wish, source, timeout, state_dir, as_json)


def _warn_unkeyed(fleet: Fleet) -> None:
    if fleet.key is None:
        text = _UNKEYED.format(name=fleet.table.name, path=fleet.path)
        typer.echo(f"warning: {text}", err=True)


def main() -> None:
    """Entry point of `vp-flash`."""
    from variant_parallelism.cli import run

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    run(app)
