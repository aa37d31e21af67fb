"""What vp-flash sees: probes, UF2 drives, serial ports, emulators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from variant_parallelism.emulators import EMULATORS
from variant_parallelism.errors import VpError
from variant_parallelism.flash.backend import Target
from variant_parallelism.flash.registry import backend
from variant_parallelism.flash.usb_access import PERMISSION_HINT, closed_probes
from variant_parallelism.fleet import NodeTable
from variant_parallelism.usb_ports import SerialPort, serial_ports

if TYPE_CHECKING:
    from rich.table import Table

_MIN_PREFIX = 6


@dataclass(frozen=True)
class Seen:
    """Everything that can be flashed from this machine now.

    `notes` say why something may be missing. `emulators` maps names to None, or to why not.
    """

    probes: list[Target]
    drives: list[Target]
    ports: list[SerialPort]
    emulators: dict[str, str | None]
    notes: list[str]

    def as_json(self) -> dict[str, Any]:
        return {
            "probes": [
                {"id": target.id, "description": target.description, "serial": target.port}
                for target in self.probes
            ],
            "drives": [
                {"path": target.id, "description": target.description, "board": target.board}
                for target in self.drives
            ],
            "ports": [
                {
                    "port": port.name,
                    "device": port.device,
                    "serial_number": port.serial_number,
                    "description": port.description,
                }
                for port in self.ports
            ],
            "emulators": {name: why is None for name, why in self.emulators.items()},
            "notes": self.notes,
        }

    def prefix(self, probe: Target) -> str:
        """The shortest beginning of its id that names it alone."""
        others = [other.id.lower() for other in self.probes if other is not probe]
        for length in range(_MIN_PREFIX, len(probe.id)):
            if not any(other.startswith(probe.id[:length].lower()) for other in others):
                return probe.id[:length]
        return probe.id


def look() -> Seen:
    """List without opening anything that may be somebody else's."""
    notes: list[str] = []
    probes, drives = _found("pyocd", notes), _found("uf2", notes)
    notes += [f"debug probe {name}: {PERMISSION_HINT}" for name in closed_probes()]
    emulators: dict[str, str | None] = {}
    for name, emulator in EMULATORS.items():
        try:
            emulator.check()
            emulators[name] = None
        except VpError as error:
            emulators[name] = str(error)
    return Seen(probes, drives, serial_ports(), emulators, notes)


def _found(name: str, notes: list[str]) -> list[Target]:
    try:
        found = backend(name)
        found.check()
        return found.find()
    except VpError as error:
        notes.append(str(error))
        return []


def table(seen: Seen) -> Table:
    """The boards and what leads to them."""
    from rich import box
    from rich.table import Table

    rows = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for head in ("what", "id", "description", "serial line"):
        rows.add_column(head, overflow="fold")
    for target in seen.probes:
        rows.add_row("debug probe", target.id, target.description, target.port or "")
    for target in seen.drives:
        rows.add_row("UF2 drive", target.id, target.description, "")
    known = {target.port for target in seen.probes}
    for port in seen.ports:
        if port.name not in known:
            number = f", USB serial number {port.serial_number}" if port.serial_number else ""
            rows.add_row("serial port", port.device, port.description + number, port.name)
    for name, why in seen.emulators.items():
        rows.add_row("emulator", name, "ready" if why is None else why, "")
    return rows


def hint(seen: Seen) -> str | None:
    """What to do first where no board is connected."""
    if seen.probes or seen.drives:
        return None
    return (
        "No board is connected: plug in its debug probe or USB cable (a Pico with BOOTSEL held). "
        "An STM32 in its serial bootloader is flashed with --with stm32-uart."
    )


def next_steps(seen: Seen, fleet: str | None, nodes: Sequence[NodeTable]) -> list[str]:
    """What to type now."""
    file = fleet or "fleet.toml"
    boards = len(seen.probes) + len(seen.drives)
    real = [node for node in nodes if node.emulated is None]
    first = (real or nodes)[0].id if nodes else "N"
    if not boards:
        ready = [name for name, why in seen.emulators.items() if why is None]
        return [f"vp-flash --emulator {name} --node {first} {file}" for name in ready[:1]]
    if boards == 1 or (real and real[0].probe is not None):
        steps = [f"vp-flash --node {first} {file}"]
    else:
        steps = [
            f"vp-flash --node {first} --probe {seen.prefix(probe)} {file}" for probe in seen.probes
        ]
    if len(real) > 1 and boards > 1:
        steps.append(f"vp-flash --all {file}")
    return steps
