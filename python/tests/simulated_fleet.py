"""Nodes and links in virtual time, for tests of the gateway's core."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulated_node import HELLO_S, SimulatedNode, entries_of
from variant_parallelism import wire
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway import Answer, Answered, Core, Event
from variant_parallelism.gateway.reloading import Changes

__all__ = ["FIFO", "HELLO_S", "Faults", "SimulatedNode", "World", "entries_of", "ready", "states"]

FIFO = 7
"""Full frames that a small Ethernet controller holds; what comes on top is lost."""


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

    def __init__(
        self,
        fleet: Fleet,
        *,
        seed: int = 0,
        boot: int = 100,
        sensors: Collection[int] = (),
        **core: object,
    ) -> None:
        """`sensors` are the nodes that have an input source of their own."""
        self.fleet = fleet
        self.sensors = sensors
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
        self.loses: Callable[[int | None, bytes], bool] = lambda node, data: False
        """Whether what the gateway sends is lost for a node, or for all of the group (None)."""
        self.highest: dict[int, int] = {}
        """What a gateway keeps of the nodes' counters."""
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
            self.at(delay, lambda d=arriving: self._arrive(node, serial, d))  # type: ignore[misc]

    def _arrive(self, node: int, serial: bool, data: bytes) -> None:
        there = node in self.core.nodes
        if not serial:
            self.core.datagram(self.now, node if there else None, data)
        elif there:
            self.core.stream(self.now, node, data)

    def reload(self, fleet: Fleet) -> Changes:
        """Another version of the fleet file; boards that it has anew, or changed, boot."""
        told = self.core.reload(self.now, fleet, self.highest)
        self.fleet = fleet
        self.bytes_per_s = {node.id: 11_000.0 for node in fleet.nodes if node.serial}
        for node in (*told.removed, *told.replaced):
            self.nodes[node].alive = False
        for table in fleet.nodes:
            if table.id in told.added or table.id in told.replaced:
                before = self.nodes.get(table.id)
                boot = 1 if before is None else (before.counter >> 16) + 1
                self.nodes[table.id] = SimulatedNode(self, table, boot)
            if table.id in told.opening:
                self.core.link_up(self.now, table.id)
        self._collect()
        return told

    def _to_group(self, data: bytes) -> None:
        self.sent.append((self.now, None, data))
        if self.loses(None, data):
            return
        for node in self.nodes.values():
            if node.multicast and self.random.random() >= self.group_loss:
                self._carry(node.id, data)

    def _to_node(self, node: int, data: bytes) -> None:
        self.sent.append((self.now, node, data))
        self._carry(node, data)

    def _carry(self, node: int, data: bytes) -> None:
        if self.loses(node, data):
            return
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
        self.highest.update(self.core.highest_counters())
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
        return self.answer_of(self.submit(image, k, deadline_s))

    def trigger(self, k: int | None = None, deadline_s: float | None = None) -> int:
        request = self.core.trigger(self.now, k, deadline_s)
        self._collect()
        return request.id

    def answer_of(self, request: int) -> Answer:
        """Run until the answer to a request."""
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
