"""Which backend, and which of the boards that it sees, is meant for a node."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from variant_parallelism.errors import VpError
from variant_parallelism.firmware import BoardInfo
from variant_parallelism.flash.backend import (
    AccessError,
    AmbiguousTargetError,
    Backend,
    FlashError,
    NoTargetError,
    Target,
)
from variant_parallelism.flash.registry import backend as make_backend
from variant_parallelism.flash.uf2_drive import drive_at
from variant_parallelism.flash.usb_access import PERMISSION_HINT, closed_probes
from variant_parallelism.fleet import NodeTable
from variant_parallelism.usb_ports import same_serial_number, usb_device_of

_WHAT = {
    "pyocd": "debug probe",
    "uf2": "UF2 drive",
    "stm32-uart": "serial port",
}
_HINT = {
    "pyocd": "plug in the board's USB cable, or an external probe",
    "uf2": "hold BOOTSEL (or press reset twice) while plugging the board in",
    "stm32-uart": "plug in a USB serial adapter",
}


@dataclass(frozen=True)
class Wish:
    """What the command line says about the way to a board; None: find out."""

    way: str | None = None
    probe: str | None = None
    port: str | None = None
    drive: str | None = None

    @property
    def names_board(self) -> bool:
        """Whether the options say which board it is, not only how it is programmed."""
        return (self.probe, self.port, self.drive) != (None, None, None)

    @property
    def named_way(self) -> str | None:
        """The backend that the options ask for."""
        if self.way is not None:
            return self.way
        if self.probe is not None:
            return "pyocd"
        if self.drive is not None:
            return "uf2"
        return "stm32-uart" if self.port is not None else None


def choose(
    board: BoardInfo,
    node: NodeTable,
    wish: Wish,
    ask: Callable[[str, Sequence[Target]], Target] | None = None,
) -> tuple[Backend, Target]:
    """The board that is to become `node`.

    `ask` chooses between several where neither options nor fleet.toml do. Raises NoTargetError,
    AmbiguousTargetError, or FlashError if the board cannot be programmed that way.
    """
    problems: list[VpError] = []
    for name in _ways(board, wish):
        found = make_backend(name)
        try:
            found.check()
            return found, _target(found, board, node, wish, ask)
        except AmbiguousTargetError:
            raise
        except VpError as problem:
            problems.append(problem)
    if len(problems) == 1:
        raise problems[0]
    raise NoTargetError("; or: ".join(str(problem) for problem in problems))


def _ways(board: BoardInfo, wish: Wish) -> list[str]:
    """Names of backends, in the order to try."""
    if not board.programmers:
        raise FlashError(
            f"board {board.name} cannot be programmed: it is emulated; take --emulator qemu"
        )
    wanted = wish.named_way
    if wanted is not None:
        if wanted not in board.programmers:
            raise FlashError(
                f"board {board.name} is not programmed by {wanted}, "
                f"but by {' or '.join(board.programmers)}"
            )
        return [wanted]
    # A bootloader on a serial line wants a jumper set first, so it is taken only when named.
    ways: list[str] = [name for name in board.programmers if name != "stm32-uart"]
    return ways or [*board.programmers]


def _target(
    backend: Backend,
    board: BoardInfo,
    node: NodeTable,
    wish: Wish,
    ask: Callable[[str, Sequence[Target]], Target] | None,
) -> Target:
    if backend.name == "stm32-uart":
        return _line(backend, node, wish)
    if backend.name == "uf2" and wish.drive is not None:
        # Any folder that is such a drive, mounted as it may be.
        drive = drive_at(Path(wish.drive))
        if drive is not None:
            return drive
    found = [target for target in backend.find() if target.board in (None, board.name)]
    what = _WHAT[backend.name]
    if not found:
        closed = closed_probes() if backend.name == "pyocd" else []
        if closed:
            raise AccessError(f"debug probe {closed[0]}: {PERMISSION_HINT}")
        raise NoTargetError(f"no {what} found: {_HINT[backend.name]}")
    name = wish.drive if backend.name == "uf2" else wish.probe or node.probe
    if name is not None:
        named = [target for target in found if _is_called(target, name)]
        if not named:
            raise NoTargetError(f"no {what} {name}: there is {_listed(found)}")
        found = named
    elif backend.name == "pyocd" and node.serial is not None:
        found = _of_same_device(found, node.serial) or found
    if len(found) == 1:
        return found[0]
    if ask is not None:
        return ask(f"Which {what} is node {node.id} ({board.name})?", found)
    option = "--drive" if backend.name == "uf2" else "--probe"
    raise AmbiguousTargetError(
        f"{len(found)} {what}s are connected: {_listed(found)}; choose with {option}"
        + (f", or write probe into node {node.id} of the fleet file" if name is None else "")
    )


def _line(backend: Backend, node: NodeTable, wish: Wish) -> Target:
    """The serial line to a bootloader: named, or the node's own; nothing else is tried."""
    port = node.serial if wish.port is None else wish.port
    if port is None:
        raise NoTargetError(
            f"node {node.id} has no serial port in the fleet file: name the bootloader's "
            "with --port"
        )
    return Target(backend.name, port, "system bootloader")


def _is_called(target: Target, name: str) -> bool:
    return target.id.lower().startswith(name.lower().rstrip("/"))


def _of_same_device(found: list[Target], port: str) -> list[Target]:
    """The probe whose USB device also is the node's serial port."""
    device = usb_device_of(port)
    if device is None:
        return []
    return [target for target in found if same_serial_number(target.id, device)]


def _listed(targets: Sequence[Target]) -> str:
    return ", ".join(f"{target.id} ({target.description})" for target in targets)


def ask_on_terminal(question: str, targets: Sequence[Target]) -> Target:
    """Let the user choose by number."""
    from rich.console import Console
    from rich.prompt import IntPrompt

    console = Console(stderr=True)
    console.print(question)
    for number, target in enumerate(targets, 1):
        console.print(f"  {number}  {target.id}  {target.description}", highlight=False)
    numbers = [str(number) for number in range(1, len(targets) + 1)]
    return targets[IntPrompt.ask("Number", choices=numbers, console=console) - 1]


def may_ask() -> bool:
    """Whether somebody sits at a terminal who can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()
