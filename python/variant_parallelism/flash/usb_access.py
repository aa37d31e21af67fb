"""Debug probes that are plugged in but that this user may not open (Linux)."""

from __future__ import annotations

import os
from pathlib import Path

PERMISSION_HINT = (
    "you may not open it: add the udev rules of docs/flashing.md (Permissions) and plug it in again"
)

_STLINK_VENDOR = 0x0483
_STLINK_PRODUCTS = range(0x3748, 0x3758)
_JLINK_VENDOR = 0x1366
_CMSIS_DAP = "CMSIS-DAP"


def closed_probes(
    devices: Path = Path("/sys/bus/usb/devices"), nodes: Path = Path("/dev/bus/usb")
) -> list[str]:
    """The names of probes whose device file is not writable; pyOCD passes over them silently."""
    closed = []
    for device in sorted(devices.glob("[0-9]*-*")):
        name = _probe_name(device)
        if name is None:
            continue
        bus, number = _read(device / "busnum"), _read(device / "devnum")
        node = nodes / f"{bus:0>3}" / f"{number:0>3}"
        if node.exists() and not os.access(node, os.R_OK | os.W_OK):
            closed.append(name)
    return closed


def _probe_name(device: Path) -> str | None:
    """What a USB device calls itself if it is a debug probe."""
    vendor, product = _hexadecimal(device / "idVendor"), _hexadecimal(device / "idProduct")
    name = _read(device / "product")
    interfaces = [_read(path) for path in device.glob("*/interface")]
    if (
        (vendor == _STLINK_VENDOR and product in _STLINK_PRODUCTS)
        or vendor == _JLINK_VENDOR
        or any(_CMSIS_DAP in text for text in (name, *interfaces))
    ):
        return name or f"{vendor:04x}:{product:04x}"
    return None


def _hexadecimal(path: Path) -> int:
    try:
        return int(_read(path), 16)
    except ValueError:
        return 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
