"""Serial ports as the operating system lists them. Nothing here opens one."""

from __future__ import annotations

import os
from dataclasses import dataclass

from serial.tools import list_ports


@dataclass(frozen=True, slots=True)
class SerialPort:
    """A port of a USB device. `link` is its lasting name in /dev/serial/by-id, if it has one."""

    device: str
    serial_number: str
    description: str
    link: str | None

    @property
    def name(self) -> str:
        """What to write into fleet.toml."""
        return self.link or self.device


def serial_ports() -> list[SerialPort]:
    """The USB serial ports, sorted; ports that are part of the machine name no board."""
    links = _links()
    return sorted(
        (
            SerialPort(
                port.device,
                port.serial_number or "",
                " ".join(filter(None, (port.manufacturer, port.product))) or port.description,
                links.get(os.path.realpath(port.device)),
            )
            for port in list_ports.comports()
            if port.vid is not None
        ),
        key=lambda port: port.device,
    )


def port_of_usb_device(serial_number: str) -> str | None:
    """The serial port of the USB device with that serial number (a probe's own, for instance)."""
    for port in serial_ports():
        if same_serial_number(port.serial_number, serial_number):
            return port.name
    return None


def usb_device_of(device: str) -> str | None:
    """The serial number of the USB device that a port (or a link to it) belongs to."""
    real = os.path.realpath(device)
    for port in serial_ports():
        if os.path.realpath(port.device) == real:
            return port.serial_number or None
    return None


def same_serial_number(one: str, other: str) -> bool:
    """J-Link probes pad theirs with zeros on USB and leave them out elsewhere."""
    return bool(one) and one.lower().lstrip("0") == other.lower().lstrip("0")


def _links(folder: str = "/dev/serial/by-id") -> dict[str, str]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return {}
    return {
        os.path.realpath(os.path.join(folder, name)): os.path.join(folder, name) for name in names
    }
