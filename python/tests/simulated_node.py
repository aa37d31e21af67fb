"""One node in virtual time, which speaks the real protocol through the real codec.

Only its model is simulated: its answer is a function of its id and the image, so that a test knows
what must come out.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleet_factory import FLEET_ID
from variant_parallelism import wire
from variant_parallelism.fleet import NodeTable
from variant_parallelism.gateway.requests import is_newer
from variant_parallelism.keys import group_key, node_key
from variant_parallelism.pattern import captured

if TYPE_CHECKING:
    from simulated_fleet import World

HELLO_S = 1.0
GAP_S = 0.05
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
    first: wire.Input | wire.Trigger
    chunks: dict[int, bytes] = field(default_factory=dict)
    last_chunk_at: float = 0.0
    reports: int = 0
    begins_at: float | None = None
    """When the node begins to work on it, once it is complete."""

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
    """One node: messages in, messages out. `compute_s` is its time from image to answer,
    `capture_s` what its source takes, if it is one of the world's `sensors`."""

    def __init__(self, world: World, node: NodeTable, boot: int = 1) -> None:
        self.world = world
        self.id = node.id
        self.key = world.fleet.key and node_key(world.fleet.key, FLEET_ID, node.id)
        self.group = world.fleet.key and group_key(world.fleet.key, FLEET_ID)
        self.variant = world.fleet.variant_of(node)
        self.classes = len(world.fleet.manifest.classes)
        self.hash = self.variant.hash
        self.compute_s = 0.02
        self.capture_s = 0.01
        self.sensor = node.id in world.sensors
        self.captures: list[int] = []
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
        self.busy_until = self.started
        self._start_afresh(0)
        self._heartbeat(self.life)
        self._tell_fault()

    def _start_afresh(self, gateway_boot: int) -> None:
        """The gateway counts anew: its requests of before are forgotten."""
        self.gateway_boot = gateway_boot
        self.latest: int | None = None
        self.incoming: dict[int, _Incoming] = {}
        self.answers: dict[int, Entries] = {}
        self.took_s: dict[int, float] = {}

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
            self.sensor,
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
        elif isinstance(body, wire.Trigger):
            self._trigger(body)

    def _trigger(self, body: wire.Trigger) -> None:
        if not self.sensor:
            if body.report:
                self.send(wire.NodeError(body.request, wire.ErrorCode.SOURCE))
            return
        if self.latest is None or is_newer(body.request, self.latest):
            self.latest = body.request
            self._give_up()
            self.captures.append(body.request)
            life, image = self.life, _Incoming(1, body)
            self.incoming[body.request] = image
            self.world.at(self.capture_s, lambda: self._captured(life, image))
            if body.report:
                self.send(wire.Sack(body.request, 0, ()))
        elif not body.report:
            pass
        elif body.request in self.answers:
            self._predict(body.request)
        elif body.request in self.incoming:
            self.send(wire.Sack(body.request, 1, ()))
        else:
            self.send(wire.NodeError(body.request, wire.ErrorCode.SUPERSEDED))

    def _captured(self, life: int, image: _Incoming) -> None:
        request = image.first.request
        if self.alive and life == self.life and self.incoming.get(request) is image:
            source = self.world.fleet.manifest.input
            shape = (source.height, source.width, source.channels)
            image.chunks[0] = captured(self.id, request, shape).tobytes()
            self._work(image)

    def _chunk(self, body: wire.Input) -> None:
        newer = self.latest is None or is_newer(body.request, self.latest)
        if newer:
            self.latest = body.request
            self._give_up()
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
            self._work(image)
        elif body.report and body.request in self.answers:
            self._predict(body.request)

    def _work(self, image: _Incoming) -> None:
        """One image after the other; the time to the answer counts the wait for the one before."""
        life, now = self.life, self.world.now
        image.begins_at = max(now, self.busy_until)
        self.busy_until = image.begins_at + self.compute_s
        self.world.at(self.busy_until - now, lambda: self._answer(life, image, now))

    def _give_up(self) -> None:
        """A newer request replaces one that is not complete, or waits for the one before."""
        for request, image in list(self.incoming.items()):
            if image.begins_at is None or image.begins_at > self.world.now:
                del self.incoming[request]
                if image.begins_at is not None:
                    self.busy_until = image.begins_at
                self.send(wire.NodeError(request, wire.ErrorCode.SUPERSEDED))

    def _gap(self, life: int, image: _Incoming) -> None:
        waited = self.world.now - image.last_chunk_at
        wanted = self.incoming.get(image.first.request) is image
        stalled = wanted and len(image.chunks) < image.chunk_count and waited >= GAP_S - 1e-9
        if self.alive and life == self.life and stalled and image.reports < 5:
            image.reports += 1
            self._sack(image)
            self.world.at(GAP_S, lambda: self._gap(life, image))

    def _sack(self, image: _Incoming) -> None:
        self.send(wire.Sack(image.first.request, len(image.chunks), image.missing()))

    def _answer(self, life: int, image: _Incoming, since: float) -> None:
        known = self.incoming.get(image.first.request) is image
        if self.alive and life == self.life and known:
            request, k = image.first.request, image.first.k
            self.answers[request] = entries_of(self.id, image.image(), k, self.classes)
            self.took_s[request] = self.world.now - since
            self._predict(request)

    def _predict(self, request: int) -> None:
        self.send(wire.Prediction(request, self.took_s[request] * 1000, self.answers[request]))
