"""USB serial ports as pyserial lists them."""

from __future__ import annotations

from types import SimpleNamespace


def usb_port(
    device: str,
    number: str | None,
    vid: int | None = 0x0483,
    *,
    pid: int = 0x374B,
    location: str | None = None,
) -> SimpleNamespace:
    """One of them; by default of a device that has a single port, in a socket of its own."""
    return SimpleNamespace(
        device=device,
        vid=vid,
        pid=pid,
        location=location or f"1-{device.strip('/').replace('/', '.')}:1.2",
        serial_number=number,
        manufacturer="ST",
        product="STLink",
        description=device,
    )
