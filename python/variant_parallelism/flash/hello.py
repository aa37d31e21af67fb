"""Waits for the HELLO of a node that was started: on its line, by UDP, or at its gateway."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from variant_parallelism.client import Client, find_gateway
from variant_parallelism.errors import VpError
from variant_parallelism.flash.backend import AccessError, BusyError, FlashError
from variant_parallelism.fleet import Fleet, NodeTable, parse_endpoint
from variant_parallelism.gateway.serial_link import explain, open_port
from variant_parallelism.keys import node_key
from variant_parallelism.wire import Deframer, Hello, MessageType, WireError, decode, peek

_POLL_S = 0.05
_ASK_S = 0.25
_MAX_DATAGRAM = 2048


@dataclass(frozen=True, slots=True)
class Heard:
    """What a started node said of itself."""

    boot: int
    firmware: str
    board: str
    model_hash: str
    reset_cause: str


class Listener(Protocol):
    """Hears one node. `close` gives its line back."""

    def clear(self) -> None:
        """Forget what came before the board is started."""

    def poll(self) -> Heard | None:
        """A HELLO, after at most a quarter of a second."""

    def close(self) -> None: ...

    @property
    def place(self) -> str:
        """Where it listens, for messages."""

    @property
    def remark(self) -> str:
        """What came instead of a HELLO, if anything did."""


def await_hello(
    listener: Listener,
    boot: int,
    timeout_s: float,
    *,
    done: str = "the board is programmed and verified",
    advice: str = "check its wiring",
    go_on: Callable[[], None] = lambda: None,
) -> Heard:
    """The first HELLO of boot counter `boot` or later; FlashError says what came instead.

    It begins with what is `done`, and ends with `advice` if nothing else is known. `go_on` is
    called all the while, and ends the wait by an exception.
    """
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        go_on()
        heard = listener.poll()
        if heard is not None and heard.boot >= boot:
            return heard
    raise FlashError(
        f"{done}, but no HELLO came on {listener.place} in {timeout_s:g} s"
        f"{listener.remark or ': ' + advice}"
    )


class HelloPost:
    """Gives out listeners for a fleet's nodes; holds the UDP port that they share."""

    def __init__(self, fleet: Fleet, client: Client | None = None) -> None:
        """`client` is a running gateway of the fleet, which then holds the ports."""
        self._fleet = fleet
        self._client = client
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._heard: dict[int, Heard] = {}
        self._remarks: dict[int, str] = {}

    @classmethod
    def at_gateway(cls, fleet: Fleet) -> HelloPost:
        """One that asks the fleet's gateway if one runs here."""
        return cls(fleet, find_gateway(fleet))

    @property
    def client(self) -> Client | None:
        return self._client

    def __enter__(self) -> HelloPost:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._socket is not None:
            self._socket.close()

    def listen(self, node: NodeTable) -> Listener:
        """Open what `node` is heard on. BusyError or AccessError if it cannot be had."""
        if self._client is not None:
            return _GatewayListener(self._client, node)
        if node.serial is not None:
            return _SerialListener(self._fleet, node, node.serial)
        self._open()
        return _UdpListener(self, node)

    def _open(self) -> None:
        with self._lock:
            if self._socket is not None:
                return
            listen = self._fleet.table.gateway.listen
            host, port = parse_endpoint(listen)
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            bound = socket.socket(family, socket.SOCK_DGRAM)
            try:
                bound.bind((host, port))
            except OSError as error:
                bound.close()
                raise BusyError(
                    f"cannot listen on udp {listen} for HELLOs: {error.strerror}; does another "
                    "program use it?"
                ) from None
            bound.setblocking(False)
            self._socket = bound

    def forget(self, node: int) -> None:
        self.collect()
        with self._lock:
            self._heard.pop(node, None)

    def take(self, node: int) -> Heard | None:
        self.collect()
        with self._lock:
            return self._heard.pop(node, None)

    def remark(self, node: int) -> str:
        with self._lock:
            return self._remarks.get(node, "")

    def collect(self) -> None:
        """Sort the datagrams that wait by node. Any listener's thread does it for all."""
        with self._lock:
            while self._socket is not None:
                try:
                    data = self._socket.recv(_MAX_DATAGRAM)
                except OSError:
                    return
                for node in self._fleet.nodes:
                    heard, remark = _understand(data, self._fleet, node.id)
                    if heard is not None:
                        self._heard[node.id] = heard
                    elif remark and _sender(data) == node.id:
                        self._remarks[node.id] = remark


class _SerialListener:
    def __init__(self, fleet: Fleet, node: NodeTable, url: str) -> None:
        self.place = url
        self.remark = ""
        self._fleet = fleet
        self._node = node
        self._deframer = Deframer()
        self._text = b""
        try:
            self._port: Any = open_port(url, node.baud)
        except (OSError, ValueError) as error:
            text = explain(url, error)
            if "another program" in text:
                raise BusyError(f"{text} (is it a gateway of another fleet?)") from None
            kind = AccessError if "permission" in text else FlashError
            raise kind(text) from None

    def clear(self) -> None:
        self._guarded(self._port.reset_input_buffer)
        self._deframer = Deframer()

    def poll(self) -> Heard | None:
        data = self._guarded(lambda: self._port.read(max(1, self._port.in_waiting)))
        found = None
        for message, _ in self._deframer.push(data):
            heard, remark = _understand(message, self._fleet, self._node.id)
            found = heard or found
            self.remark = remark or self.remark
        self._note_text(data)
        return found

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._port.close()

    def _note_text(self, data: bytes) -> None:
        """Firmware that cannot run says why, in words between two zero bytes."""
        self._text = (self._text + data)[-512:]
        for part in self._text.split(b"\0"):
            if part.startswith(b"vp: ") and part.isascii():
                self.remark = f": it says {part.decode().strip()!r}"

    def _guarded(self, action: Any) -> Any:
        try:
            return action()
        except (OSError, TypeError, ValueError) as error:
            raise FlashError(explain(self.place, error)) from None


class _UdpListener:
    def __init__(self, post: HelloPost, node: NodeTable) -> None:
        self.place = f"udp (it is {node.udp})"
        self._post = post
        self._node = node

    @property
    def remark(self) -> str:
        return self._post.remark(self._node.id)

    def clear(self) -> None:
        self._post.forget(self._node.id)

    def poll(self) -> Heard | None:
        heard = self._post.take(self._node.id)
        if heard is None:
            time.sleep(_POLL_S)
        return heard

    def close(self) -> None:
        """The port stays open for the other nodes."""


class _GatewayListener:
    def __init__(self, client: Client, node: NodeTable) -> None:
        self.place = f"{node.port} (says the running gateway)"
        self.remark = ""
        self._client = client
        self._node = node

    def clear(self) -> None:
        """The boot counter tells new from old."""

    def poll(self) -> Heard | None:
        time.sleep(_ASK_S)
        for entry in self._client.nodes():
            if entry.id != self._node.id:
                continue
            self.remark = f": {entry.reason}" if entry.reason else ""
            hello = entry.hello
            if hello is not None and entry.boot is not None:
                return Heard(
                    entry.boot, hello.firmware, hello.board, hello.model_hash, hello.reset_cause
                )
        return None

    def close(self) -> None:
        """The gateway keeps its ports."""


def boot_at_gateway(client: Client, node: int) -> int:
    """The boot counter that a running gateway last heard of a node; 0 if none, or if it is gone."""
    try:
        boots = [entry.boot for entry in client.nodes() if entry.id == node]
    except VpError:
        return 0
    return next((boot for boot in boots if boot is not None), 0)


def _understand(message: bytes, fleet: Fleet, node: int) -> tuple[Heard | None, str]:
    """A node's HELLO, or a remark about what else a message is."""
    try:
        header = peek(message)
    except WireError:
        return None, ""
    if (header.fleet, header.node) != (fleet.table.id, node):
        return None, f": node {header.node} of fleet {header.fleet} is heard there instead"
    if header.type != MessageType.HELLO:
        return None, ""
    key = None if fleet.key is None else node_key(fleet.key, fleet.table.id, node)
    try:
        _, body = decode(message, key)
    except WireError:
        return None, ": its HELLO is sealed with another key"
    if not isinstance(body, Hello):
        return None, ""
    firmware = ".".join(map(str, body.firmware))
    cause = body.reset_cause.name.lower()
    return Heard(header.boot, firmware, body.board, body.model_hash, cause), ""


def _sender(message: bytes) -> int | None:
    try:
        return peek(message).node
    except WireError:
        return None
