"""A bad line between gateway and node: proxies that lose, damage and shuffle messages on purpose.

Emulated UARTs never overrun and loopback datagrams rarely get lost, so every fault is injected
here, from a seeded schedule, in either direction, the same for every emulator.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import TracebackType

from variant_parallelism.emulators.ports import LOOPBACK
from variant_parallelism.wire import MAX_FRAME

DELIMITER = b"\0"


class Direction(Enum):
    TO_NODE = "to node"
    TO_GATEWAY = "to gateway"


@dataclass(frozen=True)
class FaultRates:
    """Probability (0 .. 1) that a message meets each fault; it meets one at most.

    A reordered message comes `reorder_s` late and a delayed one up to `delay_s`, both overtaken by
    what follows. A corrupted one has 1 to 3 bits flipped, a truncated one loses its end.
    """

    drop: float = 0.0
    corrupt: float = 0.0
    truncate: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay: float = 0.0
    reorder_s: float = 0.004
    delay_s: float = 0.03


@dataclass(frozen=True)
class Verdict:
    """The fault that one message meets ("intact": none) and what is delivered of it.

    `deliveries` are (seconds to wait, bytes).
    """

    fault: str
    deliveries: list[tuple[float, bytes]]


class FaultSchedule:
    """What happens to each message in turn; the same seed and messages give the same faults."""

    def __init__(self, rates: FaultRates, seed: int) -> None:
        self.rates = rates
        self.counts: Counter[str] = Counter()
        self._random = random.Random(seed)

    def apply(self, message: bytes) -> Verdict:
        """Decide about the next message, and count it under the fault's name."""
        names = ("drop", "corrupt", "truncate", "duplicate", "reorder", "delay")
        draw = self._random.random()
        fault = "intact"
        for name in names:
            draw -= getattr(self.rates, name)
            if draw < 0:
                fault = name
                break
        self.counts[fault] += 1
        return Verdict(fault, self._deliveries(fault, message))

    def _deliveries(self, fault: str, message: bytes) -> list[tuple[float, bytes]]:
        rates = self.rates
        match fault:
            case "drop":
                return []
            case "corrupt":
                return [(0.0, self._flipped(message))]
            case "truncate":
                return [(0.0, message[: self._random.randrange(1, max(2, len(message)))])]
            case "duplicate":
                return [(0.0, message), (self._random.uniform(0, rates.reorder_s), message)]
            case "reorder":
                return [(rates.reorder_s, message)]
            case "delay":
                return [(self._random.uniform(0, rates.delay_s), message)]
        return [(0.0, message)]

    def _flipped(self, message: bytes) -> bytes:
        damaged = bytearray(message)
        for bit in self._random.sample(range(8 * len(message)), self._random.randint(1, 3)):
            damaged[bit // 8] ^= 1 << bit % 8
        return bytes(damaged)


Schedules = Mapping[Direction, FaultSchedule]


def both_directions(rates: FaultRates, seed: int) -> dict[Direction, FaultSchedule]:
    """The same rates each way, with schedules of their own."""
    return {way: FaultSchedule(rates, 2 * seed + i) for i, way in enumerate(Direction)}


class Carrier(ABC):
    """Log, schedule and timing of every bad line; `_send` is its own.

    `log` has every message that came in, before its faults; what is injected is not in it.
    """

    def __init__(self, schedules: Schedules | None = None) -> None:
        self.log: list[tuple[Direction, bytes]] = []
        self.schedules = schedules or {}
        self._cut = False
        self._timers: set[asyncio.TimerHandle] = set()

    @property
    def under_way(self) -> int:
        """How many late deliveries are still to come."""
        return len(self._timers)

    def cut(self) -> None:
        """Deliver nothing any more."""
        self._cut = True

    def restore(self) -> None:
        """Deliver again after a cut."""
        self._cut = False

    def inject(self, direction: Direction, message: bytes) -> None:
        """Deliver bytes that nobody sent."""
        self._deliver(direction, message, "injected")

    def _carry(self, direction: Direction, message: bytes) -> None:
        self.log.append((direction, message))
        schedule = self.schedules.get(direction)
        if self._cut or schedule is None:
            self._deliver(direction, message, "")
            return
        verdict = schedule.apply(message)
        if not verdict.deliveries:
            self._observe(direction, message, verdict.fault)
        for wait_s, data in verdict.deliveries:
            remark = _remark(verdict, wait_s, message, data)
            if wait_s <= 0:
                self._deliver(direction, data, remark)
            else:
                self._deliver_later(wait_s, direction, data, remark)

    def _deliver_later(self, wait_s: float, direction: Direction, data: bytes, remark: str) -> None:
        def arrive() -> None:
            self._timers.discard(timer)
            self._deliver(direction, data, remark)

        timer = asyncio.get_running_loop().call_later(wait_s, arrive)
        self._timers.add(timer)

    def _deliver(self, direction: Direction, data: bytes, remark: str) -> None:
        if self._cut:
            self._observe(direction, data, "cut")
            return
        self._observe(direction, data, remark)
        self._send(direction, data)

    def _stop_timers(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    # Not abstract: a line that keeps no record has nothing to do.
    def _observe(self, direction: Direction, data: bytes, remark: str) -> None:  # noqa: B027
        """Bytes come out of the line, or are lost; `remark` says what happened, '' if nothing."""

    @abstractmethod
    def _send(self, direction: Direction, data: bytes) -> None:
        """Hand bytes to the side that they go to."""


def _remark(verdict: Verdict, wait_s: float, message: bytes, data: bytes) -> str:
    match verdict.fault:
        case "intact":
            return ""
        case "corrupt":
            pairs = zip(message, data, strict=True)
            flips = [f"{i}^{a ^ b:#04x}" for i, (a, b) in enumerate(pairs) if a != b]
            return f"corrupt: bytes {', '.join(flips)}"
        case "truncate":
            return f"truncate: {len(data)} of {len(message)} bytes"
        case "duplicate":
            return f"duplicate: {'second' if wait_s > 0 else 'first'}"
    return f"{verdict.fault}: {1000 * wait_s:.1f} ms late"


@dataclass(frozen=True)
class _Pipe:
    """The two ends of one serial connection."""

    to_gateway: asyncio.StreamWriter
    to_node: asyncio.StreamWriter


class SerialLink(Carrier):
    """A TCP proxy before a UART: faults hit whole frames, delimiter included.

    `port` is where the gateway connects (`socket://127.0.0.1:PORT`); a connection to the board is
    open as long as the gateway's is. cut() also hangs up, and restore() lets it connect again.
    """

    def __init__(self, node_port: int, port: int, schedules: Schedules | None = None) -> None:
        super().__init__(schedules)
        self.port = port
        self._node_port = node_port
        self._server: asyncio.Server | None = None
        self._pipe: _Pipe | None = None

    @property
    def url(self) -> str:
        return f"socket://{LOOPBACK}:{self.port}"

    async def __aenter__(self) -> SerialLink:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop_timers()
        self._hang_up()
        if self._server is not None:
            self._server.close()

    def cut(self) -> None:
        super().cut()
        self._hang_up()

    def _hang_up(self) -> None:
        if self._pipe is not None:
            self._pipe.to_gateway.close()
            self._pipe.to_node.close()
            self._pipe = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut or self._pipe is not None:
            writer.close()
            return
        try:
            node_reader, node_writer = await asyncio.open_connection(LOOPBACK, self._node_port)
        except OSError:
            writer.close()
            return
        pipe = self._pipe = _Pipe(writer, node_writer)
        ways = (
            self._pump(reader, Direction.TO_NODE),
            self._pump(node_reader, Direction.TO_GATEWAY),
        )
        tasks = [asyncio.ensure_future(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            if self._pipe is pipe:
                self._hang_up()

    async def _pump(self, reader: asyncio.StreamReader, direction: Direction) -> None:
        pending = b""
        while True:
            try:
                data = await reader.read(4096)
            except OSError:
                return
            if not data:
                return
            *frames, pending = (pending + data).split(DELIMITER)
            for frame in frames:
                self._carry(direction, frame + DELIMITER)
            if len(pending) > 2 * MAX_FRAME:
                self._carry(direction, pending)
                pending = b""

    def _send(self, direction: Direction, data: bytes) -> None:
        if self._pipe is None:
            return
        ends = {Direction.TO_NODE: self._pipe.to_node, Direction.TO_GATEWAY: self._pipe.to_gateway}
        ends[direction].write(data)


class _Socket(asyncio.DatagramProtocol):
    def __init__(self, link: Carrier, direction: Direction) -> None:
        self._link = link
        self._direction = direction

    def datagram_received(self, data: bytes, source: object) -> None:
        self._link._carry(self._direction, data)


class UdpLink(Carrier):
    """A UDP proxy before a node.

    The gateway sends to `port`; the node must send to `node_side_port` instead of to the gateway
    (`reply_ports` of launch_fleet). `node` and `gateway` are their own (host, port).
    """

    def __init__(
        self,
        node: tuple[str, int],
        gateway: tuple[str, int],
        port: int,
        node_side_port: int,
        schedules: Schedules | None = None,
    ) -> None:
        super().__init__(schedules)
        self.port = port
        self.node_side_port = node_side_port
        self._node = node
        self._gateway = gateway
        self._sockets: dict[Direction, asyncio.DatagramTransport] = {}

    @property
    def endpoint(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    async def __aenter__(self) -> UdpLink:
        loop = asyncio.get_running_loop()
        sides = {Direction.TO_NODE: self.port, Direction.TO_GATEWAY: self.node_side_port}
        for direction, port in sides.items():
            self._sockets[direction], _ = await loop.create_datagram_endpoint(
                lambda direction=direction: _Socket(self, direction),  # type: ignore[misc]
                local_addr=(LOOPBACK, port),
            )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop_timers()
        for transport in self._sockets.values():
            transport.close()
        self._sockets.clear()

    def _send(self, direction: Direction, data: bytes) -> None:
        # What goes to the node leaves from the socket that the node sends to, and the reverse, so
        # that each side sees the other at one address.
        if not self._sockets:
            return
        if direction is Direction.TO_NODE:
            self._sockets[Direction.TO_GATEWAY].sendto(data, self._node)
        else:
            self._sockets[Direction.TO_NODE].sendto(data, self._gateway)
