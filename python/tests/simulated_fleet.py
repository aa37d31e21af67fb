"""Nodes and links in virtual time, for tests of the gateway's core.

The nodes speak the real protocol through the real codec; only model and clock are simulated: a
node's answer is a function of its id and the image, so that a test knows what must come out.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fleet_factory import FLEET_ID
from variant_parallelism import wire
from variant_parallelism.fleet import Fleet, NodeTable
from variant_parallelism.gateway import Answer, Answered, Core, Event
from variant_parallelism.gateway.requests import is_newer
from variant_parallelism.keys import group_key, node_key

HELLO_S = 1.0
GAP_S = 0.05
FIFO = 7
"""Full frames that a small Ethernet controller holds; what comes on top is lost."""
Entries = tuple[tuple[int, int], ...]


def entries_of(node: int, image: bytes, k: int, classes: int) -> Entries:
    """What node `node` answers to an image: scores that differ from node to node."""
    digest = hashlib.blake2s(image).digest()
    winner = digest[0] % classes
    scores = {index: (digest[1 + index % 31] + 37 * node) % 100 - 128 for index in range(classes)}
    scores[winner] = 60 + node
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    return tuple(ranked[:k])


@dataclass
class _Incoming:
    chunk_count: int
    first: wire.Input
    chunks: dict[int, bytes] = field(default_factory=dict)
    last_chunk_at: float = 0.0
    reports: int = 0

    def image(self) -> bytes:
        return b"".join(self.chunks[number] for number in range(self.chunk_count))

    def missing(self) -> tuple[tuple[int, int], ...]:
        ranges: list[tuple[int, int]] = []
        for number in range(self.chunk_count):
            if number in self.chunks:
                continue
            if ranges and sum(ranges[-1]) == number:
                ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
            else:
                ranges.append((number, 1))
        return tuple(ranges[:8])


class SimulatedNode:
    """One node: messages in, messages out. `compute_s` is its time from image to answer."""

    def __init__(self, world: World, node: NodeTable, boot: int = 1) -> None:
        self.world = world
        self.id = node.id
        self.key = world.fleet.key and node_key(world.fleet.key, FLEET_ID, node.id)
        self.group = world.fleet.key and group_key(world.fleet.key, FLEET_ID)
        self.variant = world.fleet.variant_of(node)
        self.classes = len(world.fleet.manifest.classes)
        self.hash = self.variant.hash
        self.compute_s = 0.02
        self.alive = True
        self.fault: wire.Fault | None = None
        self.multicast = world.fleet.table.network is not None and node.udp is not None
        self.dropped = 0
        self.counter = boot << 16
        self.start()

    def start(self) -> None:
        """Boot: everything but the boot counter is forgotten."""
        self.started = self.world.now
        self.life = next(self.world.ids)
        self.replay = wire.ReplayWindow()
        self.rejected = 0
        self._start_afresh(0)
        self._heartbeat(self.life)
        self._tell_fault()

    def _start_afresh(self, gateway_boot: int) -> None:
        """The gateway counts anew: its requests of before are forgotten."""
        self.gateway_boot = gateway_boot
        self.latest: int | None = None
        self.incoming: dict[int, _Incoming] = {}
        self.answers: dict[int, Entries] = {}

    def reboot(self, fault: wire.Fault | None = None) -> None:
        self.alive = True
        self.fault = fault
        self.counter = ((self.counter >> 16) + 1) << 16
        self.start()

    def send(self, body: wire.Body) -> None:
        self.counter += 1
        message = wire.encode(
            body,
            fleet=FLEET_ID,
            node=self.id,
            counter=self.counter,
            key=self.key,
            classes=self.classes,
        )
        self.world.to_gateway(self.id, message)

    def hello(self) -> wire.Hello:
        side = self.variant.resolution
        uptime = int((self.world.now - self.started) * 1000)
        return wire.Hello(
            self.hash,
            self.classes,
            side,
            side,
            1,
            65536,
            (0, 1, 0),
            wire.ResetCause.FAULT if self.fault else wire.ResetCause.POWER,
            uptime,
            0,
            self.rejected,
            "mps2-an386",
            self.multicast,
        )

    def _heartbeat(self, life: int) -> None:
        if self.alive and life == self.life:
            self.send(self.hello())
            self.world.at(HELLO_S, lambda: self._heartbeat(life))

    def _tell_fault(self) -> None:
        if self.fault is not None:
            self.send(self.fault)

    def receive(self, message: bytes) -> None:
        if not self.alive:
            return
        try:
            header, body = wire.decode(message, self.group)
        except wire.WireError:
            self.dropped += 1
            return
        if not self.replay.accept(header.counter):
            self.dropped += 1
            self.rejected += 1
            return
        if header.boot > self.gateway_boot:
            self._start_afresh(header.boot)
        if isinstance(body, wire.Discover):
            self.send(self.hello())
            self._tell_fault()
        elif isinstance(body, wire.Input):
            self._chunk(body)

    def _chunk(self, body: wire.Input) -> None:
        newer = self.latest is None or is_newer(body.request, self.latest)
        if newer:
            self.latest = body.request
        elif body.request not in self.incoming:
            if body.report:
                self.send(wire.NodeError(body.request, wire.ErrorCode.SUPERSEDED))
            return
        size = body.height * body.width * body.channels
        fresh = _Incoming(-(-size // wire.CHUNK_SIZE), body)
        image = self.incoming.setdefault(body.request, fresh)
        before = len(image.chunks)
        if body.data:
            image.chunks[body.chunk] = body.data
            image.last_chunk_at = self.world.now
            image.reports = 0
            self.world.at(GAP_S, lambda: self._gap(self.life, image))
        if body.report:
            self._sack(image)
        complete = len(image.chunks) == image.chunk_count
        if complete and before < image.chunk_count:
            life = self.life
            self.world.at(self.compute_s, lambda: self._answer(life, image))
        elif body.report and body.request in self.answers:
            self._predict(body.request)

    def _gap(self, life: int, image: _Incoming) -> None:
        waited = self.world.now - image.last_chunk_at
        stalled = len(image.chunks) < image.chunk_count and waited >= GAP_S - 1e-9
        if self.alive and life == self.life and stalled and image.reports < 5:
            image.reports += 1
            self._sack(image)
            self.world.at(GAP_S, lambda: self._gap(life, image))

    def _sack(self, image: _Incoming) -> None:
        self.send(wire.Sack(image.first.request, len(image.chunks), image.missing()))

    def _answer(self, life: int, image: _Incoming) -> None:
        known = self.incoming.get(image.first.request) is image
        if self.alive and life == self.life and known:
            request, k = image.first.request, image.first.k
            self.answers[request] = entries_of(self.id, image.image(), k, self.classes)
            self._predict(request)

    def _predict(self, request: int) -> None:
        self.send(wire.Prediction(request, self.compute_s * 1000, self.answers[request]))


@dataclass
class Faults:
    """Chances per message, in both directions; `extra_s` delays a reordered one."""

    loss: float = 0.0
    duplication: float = 0.0
    corruption: float = 0.0
    reorder: float = 0.0
    extra_s: float = 0.01


class World:
    """A core, its nodes and the links between them, in virtual time."""

    def __init__(self, fleet: Fleet, *, seed: int = 0, boot: int = 100, **core: object) -> None:
        self.fleet = fleet
        self.now = 0.0
        self.random = random.Random(seed)
        self.faults = Faults()
        self.delay_s = 0.001
        self.group_loss = 0.0
        """Chance per node that a datagram to the group does not reach it."""
        self.busy_s: dict[int, float] = {}
        """What a network node needs to take a message in; its controller holds FIFO of them."""
        self.waiting: dict[int, int] = {}
        """Messages on their way to each network node, or in its controller."""
        self.most_waiting: dict[int, int] = {}
        self.bytes_per_s = {node.id: 11_000.0 for node in fleet.nodes if node.serial}
        self.busy_until: dict[int, float] = {}
        self.ids = itertools.count()
        self.events: list[Event] = []
        self.sent: list[tuple[float, int | None, bytes]] = []
        self.heard: list[tuple[int, bytes]] = []
        self.tap: Callable[[int, bytes], bytes | None] = lambda node, message: message
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self.core = Core(fleet, boot, **core)  # type: ignore[arg-type]
        self.nodes = {node.id: SimulatedNode(self, node) for node in fleet.nodes}
        if fleet.table.network is not None:
            self.core.group_up()
        for node in fleet.nodes:
            self.core.link_up(self.now, node.id)
        self._collect()

    def at(self, delay: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + delay, next(self.ids), action))

    def to_gateway(self, node: int, message: bytes) -> None:
        """A node's message on its way; on a serial line as a frame."""
        self.heard.append((node, message))
        tapped = self.tap(node, message)
        if tapped is None:
            return
        serial = node in self.bytes_per_s
        data = wire.frame(tapped) if serial else tapped
        for delay, arriving in self._through(data):
            if serial:
                self.at(delay, lambda d=arriving: self.core.stream(self.now, node, d))  # type: ignore[misc]
            else:
                self.at(delay, lambda d=arriving: self.core.datagram(self.now, node, d))  # type: ignore[misc]

    def _to_group(self, data: bytes) -> None:
        self.sent.append((self.now, None, data))
        for node in self.nodes.values():
            if node.multicast and self.random.random() >= self.group_loss:
                self._carry(node.id, data)

    def _to_node(self, node: int, data: bytes) -> None:
        self.sent.append((self.now, node, data))
        self._carry(node, data)

    def _carry(self, node: int, data: bytes) -> None:
        if node not in self.bytes_per_s:
            self._carry_datagram(node, data)
            return
        start = max(self.now, self.busy_until.get(node, 0.0))
        self.busy_until[node] = start + len(data) / self.bytes_per_s[node]
        wait = self.busy_until[node] - self.now
        for delay, arriving in self._through(data):
            for message, _ in wire.Deframer().push(arriving):
                self.at(wait + delay, lambda m=message: self.nodes[node].receive(m))  # type: ignore[misc]

    def _carry_datagram(self, node: int, data: bytes) -> None:
        def taken(message: bytes) -> None:
            self.waiting[node] -= 1
            self.nodes[node].receive(message)

        for delay, arriving in self._through(data):
            busy_s = self.busy_s.get(node)
            if busy_s is not None and self.waiting.get(node, 0) >= FIFO:
                continue
            self.waiting[node] = self.waiting.get(node, 0) + 1
            self.most_waiting[node] = max(self.most_waiting.get(node, 0), self.waiting[node])
            if busy_s is not None:
                start = max(self.now + delay, self.busy_until.get(node, 0.0))
                self.busy_until[node] = start + busy_s
                delay = self.busy_until[node] - self.now
            self.at(delay, lambda m=arriving: taken(m))  # type: ignore[misc]

    def _through(self, data: bytes) -> list[tuple[float, bytes]]:
        chance, faults = self.random.random, self.faults
        copies = 0 if chance() < faults.loss else 1 + (chance() < faults.duplication)
        arriving = []
        for _ in range(copies):
            damaged = bytearray(data)
            if chance() < faults.corruption:
                damaged[self.random.randrange(len(damaged))] ^= 1 << self.random.randrange(8)
            late = faults.extra_s * chance() if chance() < faults.reorder else 0.0
            arriving.append((self.delay_s + late, bytes(damaged)))
        return arriving

    def _collect(self) -> None:
        while self.core.outbox:
            node, data = self.core.outbox.popleft()
            if node is None:
                self._to_group(data)
            else:
                self._to_node(node, data)
        self.events.extend(self.core.events)
        self.core.events.clear()

    def step(self, limit: float) -> bool:
        """Go to whatever happens next, if that is before `limit`."""
        queued = self._queue[0][0] if self._queue else float("inf")
        when = max(self.now, min(queued, self.core.wake_at()))
        if when > limit:
            self.now = limit
            return False
        self.now = when
        if queued <= when:
            heapq.heappop(self._queue)[2]()
        else:
            self.core.poll(self.now)
        self._collect()
        return True

    def run(self, seconds: float) -> None:
        limit = self.now + seconds
        while self.step(limit):
            pass

    def settle(self) -> None:
        """Until every living node has announced itself."""
        self.run(0.5)

    def submit(
        self,
        image: NDArray[np.uint8],
        k: int | None = None,
        deadline_s: float | None = None,
    ) -> int:
        request = self.core.submit(self.now, image, k, deadline_s)
        self._collect()
        return request.id

    def answers(self) -> list[Answer]:
        return [event.answer for event in self.events if isinstance(event, Answered)]

    def classify(
        self,
        image: NDArray[np.uint8],
        k: int | None = None,
        deadline_s: float | None = None,
    ) -> Answer:
        """Submit and run until the answer."""
        request = self.submit(image, k, deadline_s)
        limit = self.now + 700
        while True:
            for answer in self.answers():
                if answer.request == request:
                    return answer
            if not self.step(limit):
                raise AssertionError(f"request {request} never ended")


def ready(world: World) -> World:
    """The same world once every node of it is up."""
    world.settle()
    assert set(states(world).values()) == {"up"}
    return world


def states(world: World) -> dict[int, str]:
    return {node.id: node.state for node in world.core.nodes.values()}
