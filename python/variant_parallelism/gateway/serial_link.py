"""A serial port that stays open: reads, writes and reopens in threads of its own.

Anything that pyserial's `serial_for_url` opens (a device, or `socket://host:port`), and
`usb:SERIAL`: looked up at every attempt, since a board comes back under another device.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import queue
import re
import termios
import threading
from collections.abc import Callable
from typing import Any, Protocol

import serial

from variant_parallelism.usb_ports import device_of
from variant_parallelism.wire import MAX_FRAME

_READ_TIMEOUT_S = 0.2
_WRITE_TIMEOUT_S = 1.0
_BITS_PER_BYTE = 10
_FIRST_RETRY_S = 0.1
_LAST_RETRY_S = 2.0
_QUEUED_WRITES = 64
_READ_AT_ONCE = 4096


PORT_ERRORS = (OSError, TypeError, ValueError, termios.error)
"""What pyserial raises where a port goes away while it is used."""


class LinkSink(Protocol):
    """Where a link reports, always on the event loop's thread."""

    def on_link_up(self, node_id: int) -> None: ...
    def on_link_down(self, node_id: int, reason: str) -> None: ...
    def on_bytes(self, node_id: int, data: bytes) -> None: ...


class SerialLink:
    """One node's serial port."""

    def __init__(self, node_id: int, url: str, baud: int, sink: LinkSink) -> None:
        self.url = url
        self._node_id = node_id
        self._baud = baud
        self._sink = sink
        self._loop = asyncio.get_running_loop()
        self._first: asyncio.Future[str | None] = self._loop.create_future()
        self._stop = threading.Event()
        self._writes: queue.Queue[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name=f"serial {url}", daemon=True)

    async def start(self) -> str | None:
        """Open the port; None, or why that failed. Attempts go on until `close`."""
        self._thread.start()
        return await asyncio.shield(self._first)

    def send(self, data: bytes) -> bool:
        """Queue bytes to write. False if the port is closed or takes nothing; never blocks."""
        writes = self._writes
        if writes is None:
            return False
        try:
            writes.put_nowait(data)
        except queue.Full:
            return False
        return True

    async def close(self) -> None:
        """Stop the threads and close the port."""
        self._stop.set()
        if self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # The loop may be closed by now.
            self._loop.call_soon_threadsafe(function, *arguments)

    def _report_first(self, reason: str | None) -> None:
        if not self._first.done():
            self._first.set_result(reason)

    def _run(self) -> None:
        retry = _FIRST_RETRY_S
        while not self._stop.is_set():
            try:
                port = open_port(self.url, self._baud)
            except (OSError, ValueError) as error:
                reason = explain(self.url, error)
                self._call(self._sink.on_link_down, self._node_id, reason)
                self._call(self._report_first, reason)
                self._stop.wait(retry)
                retry = min(2 * retry, _LAST_RETRY_S)
                continue
            retry = _FIRST_RETRY_S
            self._serve(port)
            self._stop.wait(retry)

    def _serve(self, port: Any) -> None:
        """Read until the port fails or `close`."""
        failed = threading.Event()
        writes: queue.Queue[bytes] = queue.Queue(_QUEUED_WRITES)
        writes.put_nowait(b"\0")
        writer = threading.Thread(
            target=self._write, args=(port, writes, failed), name=f"write {self.url}", daemon=True
        )
        self._writes = writes
        writer.start()
        self._call(self._sink.on_link_up, self._node_id)
        self._call(self._report_first, None)
        reason = f"{self.url}: disconnected"
        try:
            while not (self._stop.is_set() or failed.is_set()):
                data = port.read(1)
                try:
                    while data and (waiting := port.in_waiting) and len(data) < _READ_AT_ONCE:
                        data += port.read(waiting)
                finally:
                    if data:
                        self._call(self._sink.on_bytes, self._node_id, data)
        except PORT_ERRORS as error:
            reason = explain(self.url, error)
        self._writes = None
        failed.set()
        # Reported before the clean-up: pyserial takes 0.3 s to close a socket:// port, and a
        # request may be waiting for this node alone.
        if not self._stop.is_set():
            self._call(self._sink.on_link_down, self._node_id, reason)
        writer.join()
        with contextlib.suppress(OSError):
            port.close()

    @staticmethod
    def _write(port: Any, writes: queue.Queue[bytes], failed: threading.Event) -> None:
        resync = b""
        try:
            while not failed.is_set():
                try:
                    port.write(resync + writes.get(timeout=_READ_TIMEOUT_S))
                    resync = b""
                except queue.Empty:
                    continue
                except serial.SerialTimeoutException:
                    # Part of a frame may be out: a delimiter keeps the next one apart from it.
                    resync = b"\0"
        except PORT_ERRORS:
            pass  # The port is gone; the reader reports it.
        finally:
            failed.set()


def open_port(url: str, baud: int) -> Any:
    """Open a device or `usb:SERIAL` for this process alone, or a pyserial URL.

    OSError or ValueError if that cannot be.
    """
    write_timeout = _WRITE_TIMEOUT_S + 2 * _BITS_PER_BYTE * MAX_FRAME / baud
    options: dict[str, Any] = {"timeout": _READ_TIMEOUT_S, "write_timeout": write_timeout}
    device = device_of(url)
    if "://" not in device:
        options["exclusive"] = True
    try:
        return serial.serial_for_url(device, baudrate=baud, **options)
    except termios.error as error:  # A device that went away while it was opened.
        raise OSError(*error.args) from None
    except (LookupError, TypeError, re.error):  # Of what a URL asks for.
        raise ValueError("no serial port or URL such as socket://host:port") from None


def explain(url: str, error: Exception) -> str:
    """One line that names the port and the way out."""
    number = getattr(error, "errno", None)
    if number is None and (found := re.search(r"\[Errno (\d+)\]", str(error))):
        number = int(found.group(1))
    if number == errno.ENOENT:
        return f"{url}: no such port; is the board plugged in?"
    if number in (errno.EBUSY, errno.EAGAIN):
        return f"{url}: another program uses this port; close it"
    if number in (errno.EACCES, errno.EPERM):
        return f"{url}: permission denied; join the group that owns it (often dialout)"
    if number == errno.ECONNREFUSED:
        return f"{url}: nothing listens there; is the board or emulator running?"
    if "disconnected" in str(error):
        return f"{url}: disconnected"
    return f"{url}: {' '.join(str(error).split())}"
