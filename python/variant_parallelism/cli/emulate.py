"""`vp emulate`: boots the emulated boards of a fleet and keeps them running."""

from __future__ import annotations

import secrets
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from variant_parallelism.errors import VpError

if TYPE_CHECKING:
    from rich.table import Table

    from variant_parallelism.emulators import EmulatedFleet

_LOOK_S = 0.5


def command(
    fleet: Annotated[Path, typer.Argument(help="A fleet file with emulated nodes.")],
    out: Annotated[
        Path, typer.Option(help="Fleet file to write, with the endpoints of the boards.")
    ] = Path("run.toml"),
    workdir: Annotated[
        Path | None,
        typer.Option(
            help="Where keys and boot counters are kept.", show_default="the user's state folder"
        ),
    ] = None,
) -> None:
    """Boot the boards, write a fleet file that `vp gateway` and `vp classify` take, and wait."""
    from rich.console import Console

    from variant_parallelism.cli.emulated import build_images, work_folder
    from variant_parallelism.emulators import launch_fleet
    from variant_parallelism.emulators.fleet_file import (
        check_replaceable,
        keep_changes,
        temporary_fleet,
    )
    from variant_parallelism.fleet import load_fleet

    console = Console()
    loaded = load_fleet(fleet)
    check_replaceable(out, loaded)
    images = build_images(loaded, console)
    folder = workdir or work_folder(loaded.table.name)
    # Also where a shell starts it in the background, which ignores SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    if (old := keep_changes(out)) is not None:
        console.print(f"{out} was changed by hand: it is {old} now", highlight=False)
    key = loaded.key or _kept_key(folder / "fleet.key")
    try:
        with (
            launch_fleet(loaded, images, folder, key=key, keep_ports=True) as running,
            temporary_fleet(running.fleet, out),
        ):
            console.print(_table(running))
            console.print(
                f"\nIn another terminal:\n"
                f"  vp classify {out} IMAGE...    ask the boards about images\n"
                f"  vp gateway {out}              keep a gateway running, "
                f"with its API at http://{running.fleet.table.gateway.http}/v1/\n"
                f"Ctrl-C here switches the boards off.",
                highlight=False,
                soft_wrap=True,
            )
            _watch(running, console.print)
    except KeyboardInterrupt:
        console.print("\nboards are off")


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _kept_key(path: Path) -> bytes:
    """The fleet key of a work folder, made at its first use: boot counters go with it."""
    from variant_parallelism.fleet import KEY_SIZE, read_key
    from variant_parallelism.text_files import write_whole

    if path.exists():
        return read_key(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise VpError(f"cannot write to {path.parent}: {error.strerror}") from None
    key = secrets.token_bytes(KEY_SIZE)
    write_whole(path, (key.hex() + "\n").encode(), 0o600)
    return key


def _table(running: EmulatedFleet) -> Table:
    from rich import box
    from rich.table import Table

    table = Table("node", "variant", "board", "reached at", box=box.SIMPLE_HEAD, show_edge=False)
    for node in running.fleet.nodes:
        table.add_row(str(node.id), node.variant, node.board, node.serial or f"udp {node.udp}")
    return table


def _watch(running: EmulatedFleet, say: Callable[[str], None]) -> None:
    """Say which boards end by themselves, until Ctrl-C."""
    told: set[int] = set()
    while True:
        for node, board in running.boards.items():
            if not board.running and node not in told:
                told.add(node)
                say(f"{board.name} has ended: see {running.workdir / board.name}.qemu.log")
        time.sleep(_LOOK_S)
