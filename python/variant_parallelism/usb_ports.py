"""Serial ports as the operating system lists them, and their names by USB serial number.

`usb:SERIAL` names the port of the USB device with that serial number, wherever it is plugged in and
whatever the system calls it. `usb:SERIAL:2` is the second of a device with several ports, in the
order of its USB interfaces; `usb:VID:PID:SERIAL` (hexadecimal) tells devices of different makers
with one serial number apart. Nothing here opens a port.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from itertools import product

from serial.tools import list_ports

_PREFIX = "usb:"
_NAME = re.compile(r"(?:([0-9a-fA-F]{4}):([0-9a-fA-F]{4}):)?(.+?)(?::([1-9]))?", re.DOTALL)


class NoSuchPortError(ValueError):
    """A name leads to no port, or to several. The text is one line for people."""


@dataclass(frozen=True, slots=True)
class SerialPort:
    """A port of a USB device: the `number`th of it, counted from 1.

    `name` is what to write into fleet.toml.
    """

    device: str
    serial_number: str
    description: str
    name: str
    ids: tuple[int, int]
    """Vendor and product."""
    number: int


@dataclass(frozen=True, slots=True)
class UsbName:
    """`usb:...` in its parts; what was not said is None."""

    serial_number: str
    ids: tuple[int, int] | None
    number: int | None

    @classmethod
    def parse(cls, text: str) -> UsbName:
        """ValueError if it is no such name. A serial number may hold colons, as MACs do."""
        match = _NAME.fullmatch(text[len(_PREFIX) :]) if is_usb_name(text) else None
        if match is None or not match.group(3).strip(": "):
            raise ValueError(
                f"{text!r} is not usb: and a USB serial number, as vp-flash lists them"
            )
        vid, pid, serial_number, number = match.groups()
        ids = None if vid is None else (int(vid, 16), int(pid, 16))
        return cls(serial_number, ids, None if number is None else int(number))

    def overlaps(self, other: UsbName) -> bool:
        """Whether both may lead to one port."""
        return (
            same_serial_number(self.serial_number, other.serial_number)
            and (self.ids is None or other.ids in (None, self.ids))
            and (self.number is None or other.number in (None, self.number))
        )

    def leads_to(self, port: SerialPort) -> bool:
        return self.overlaps(UsbName(port.serial_number, port.ids, port.number))


def is_usb_name(text: str) -> bool:
    return text[: len(_PREFIX)].lower() == _PREFIX


def device_of(name: str) -> str:
    """What to open for a serial port's name: for `usb:...` its device as of now, else the name.

    NoSuchPortError if no port has that serial number, or several have.
    """
    if not is_usb_name(name):
        return name
    wanted = UsbName.parse(name)
    ports = serial_ports()
    found = [port for port in ports if wanted.leads_to(port)]
    if len(found) == 1:
        return found[0].device
    if found:
        ways = ", ".join(f"{port.name} ({port.device})" for port in found)
        raise NoSuchPortError(f"{len(found)} ports have this USB serial number: take one of {ways}")
    there = ", ".join(f"{port.name} ({port.device})" for port in ports)
    raise NoSuchPortError(f"not plugged in; {f'there is {there}' if there else 'no port is'}")


def same_port(one: str, other: str) -> bool:
    """Whether two names lead to one port now."""
    try:
        return one == other or os.path.realpath(device_of(one)) == os.path.realpath(
            device_of(other)
        )
    except NoSuchPortError:
        return False


def serial_ports() -> list[SerialPort]:
    """The USB serial ports, sorted; ports that are part of the machine name no board."""
    try:
        listed = [port for port in list_ports.comports() if port.vid is not None]
    except (OSError, TypeError, ValueError):  # A device vanished while pyserial read about it.
        return []
    listed.sort(key=lambda port: (_in_order(port.location or ""), _in_order(port.device)))
    so_far: Counter[tuple[str, str]] = Counter()
    ports = []
    for port in listed:
        serial_number = port.serial_number or ""
        # Interfaces of one device differ in what follows the colon.
        so_far[serial_number, (port.location or "").partition(":")[0]] += 1
        ports.append(
            SerialPort(
                port.device,
                serial_number,
                " ".join(filter(None, (port.manufacturer, port.product))) or port.description,
                port.device,
                (port.vid, port.pid or 0),
                so_far[serial_number, (port.location or "").partition(":")[0]],
            )
        )
    links = _links()
    return sorted(
        (replace(port, name=_name(port, ports, links)) for port in ports),
        key=lambda port: _in_order(port.device),
    )


def port_of_usb_device(serial_number: str) -> str | None:
    """The serial port of the USB device with that serial number (a probe's own, for instance)."""
    for port in serial_ports():
        if same_serial_number(port.serial_number, serial_number):
            return port.name
    return None


def usb_device_of(name: str) -> str | None:
    """The serial number of the USB device that a port (or a link to it) belongs to."""
    if is_usb_name(name):
        return UsbName.parse(name).serial_number
    real = os.path.realpath(name)
    for port in serial_ports():
        if os.path.realpath(port.device) == real:
            return port.serial_number or None
    return None


def same_serial_number(one: str, other: str) -> bool:
    """J-Link probes pad theirs with zeros on USB and leave them out elsewhere."""
    return bool(one) and one.lower().lstrip("0") == other.lower().lstrip("0")


def _name(port: SerialPort, ports: list[SerialPort], links: dict[str, str]) -> str:
    """The shortest name that leads to this port alone; else the socket that it is plugged into."""
    vendor, model = port.ids
    for number, ids in product(("", f":{port.number}"), ("", f"{vendor:04x}:{model:04x}:")):
        name = f"{_PREFIX}{ids}{port.serial_number}{number}"
        try:
            parsed = UsbName.parse(name)
        except ValueError:
            continue
        alone = [other for other in ports if parsed.leads_to(other)] == [port]
        if alone and name.isprintable() and parsed.serial_number == port.serial_number:
            return name
    return links.get(os.path.realpath(port.device), port.device)


def _in_order(text: str) -> list[tuple[int, str]]:
    """Sorts 1-1.10 behind 1-1.9."""
    return [(int(digits or 0), other) for digits, other in re.findall(r"(\d+)|(\D+)", text)]


def _links(folder: str = "/dev/serial/by-path") -> dict[str, str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return {}
    return {
        os.path.realpath(os.path.join(folder, name)): os.path.join(folder, name) for name in names
    }
