"""`vp flash`, which is also `vp-flash`: programs boards, gives them identities, waits for them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from variant_parallelism.errors import VpError

if TYPE_CHECKING:
    from variant_parallelism.flash.choose import Wish
    from variant_parallelism.fleet import Fleet

_UNKEYED = (
    "fleet {name} has no key, so anyone on the line can speak for its nodes: "
    '`openssl rand -hex 32 > fleet.key`, chmod 600, and key_file = "fleet.key" in {path}'
)

_WAY_OF = {"--probe": "pyocd", "--drive": "uf2", "--port": "stm32-uart"}
_EXCLUSIVE = (
    tuple(_WAY_OF),
    ("--image", "--no-build", "--provision-only"),
    *(("--emulator", other) for other in ("--with", *_WAY_OF, "--uf2-out")),
    *(("--uf2-out", other) for other in ("--with", *_WAY_OF, "--timeout", "--json")),
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

    wish = Wish(way, probe, port, drive)
    given = {
        "--board": board is not None,
        "--with": way is not None,
        "--probe": probe is not None,
        "--port": port is not None,
        "--drive": drive is not None,
        "--emulator": emulator is not None,
        "--once": once,
        "--image": image is not None,
        "--no-build": no_build,
        "--provision-only": provision_only,
        "--uf2-out": uf2_out is not None,
        "--timeout": timeout is not None,
    }
    if fleet is None:
        if node is not None or all_nodes or any(given.values()):
            raise VpError("which fleet? Give the fleet file, as in: vp-flash --node 1 fleet.toml")
        flash_run.show_seen(None, as_json)
        return
    if node is not None and all_nodes:
        raise VpError("--node and --all exclude each other")
    if node is None:
        _check_many(given, all_nodes, wish)
    _check_pairs({**given, "--json": as_json}, wish)
    loaded = load_fleet(fleet)
    if node is None and not all_nodes:
        flash_run.show_seen(loaded, as_json)
        return
    source = flash_run.Source(out, image, no_build, provision_only)
    if emulator is not None and node is not None:
        flash_run.emulate(loaded, node, board, emulator, source, timeout, once, state_dir, as_json)
        return
    _warn_unkeyed(loaded)
    if uf2_out is not None and node is not None:
        flash_run.write_uf2(loaded, node, board, source, uf2_out, state_dir)
        return
    nodes = flash_run.chosen(loaded, node, board)
    flash_run.flash(loaded, nodes, wish, source, timeout, state_dir, as_json)


def _check_many(given: dict[str, bool], all_nodes: bool, wish: Wish) -> None:
    """VpError for options that mean one node, where none is named."""
    if given["--emulator"]:
        raise VpError("--emulator boots one node: name it, or boot all with vp emulate")
    if given["--uf2-out"]:
        raise VpError("--uf2-out writes one file for one node: name it with --node")
    if all_nodes and wish.names_board:
        raise VpError(
            "--probe, --port and --drive name one board: with --all, write probe and serial into "
            "the fleet file"
        )
    useless = [name for name, is_given in given.items() if is_given]
    if not all_nodes and useless:
        raise VpError(f"{useless[0]} is for a node: name it with --node, or take --all")


def _check_pairs(given: dict[str, bool], wish: Wish) -> None:
    """VpError for options of which one would be ignored."""
    for names in _EXCLUSIVE:
        together = [name for name in names if given[name]]
        if len(together) > 1:
            raise VpError(f"{' and '.join(together[:2])} exclude each other")
    if given["--once"] and not given["--emulator"]:
        raise VpError("--once is for --emulator")
    for option, way in _WAY_OF.items():
        if given[option] and wish.way not in (None, way):
            raise VpError(f"{option} is for --with {way}, not --with {wish.way}")


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
