"""Who is sent which image, and how: to each node by itself, or to a multicast group.

A node gets one image after the other, oldest first. A group's chunks reach every node that listens,
and the first chunk of a newer image replaces one that is not complete; so multicast begins only
while no listener is in the middle of an image, and one image at a time. Listeners that are ready
for it wait briefly for those that are behind; if that was in vain, not again for some images. A
listener that still works on an image that it has whole hears the next one meanwhile. Nodes that are
not ready in time get theirs by unicast, as do those that multicast turned out not to reach.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.gateway.alarms import Alarms
from variant_parallelism.gateway.cast import Cast
from variant_parallelism.gateway.dispatch import WINDOW, Transfer
from variant_parallelism.gateway.gate import Gate
from variant_parallelism.gateway.outbound import Outbound
from variant_parallelism.gateway.requests import Request, RequestBook, is_newer
from variant_parallelism.gateway.roster import Node
from variant_parallelism.gateway.triggers import DOUBT_REQUESTS, Triggers
from variant_parallelism.wire import Sack

_LAG_IMAGES = 4
"""Images that a node gets before the others hold theirs back for it once more."""
_HOLD_TIMEOUTS = 2
_HOLD_SHARE = 0.25
"""How long a node's next image may wait for other nodes: so many time-outs (one is what a lost
message costs them), or this part of its usual time to an answer."""


class Sending:
    """Queues, transfers and casts of a fleet's nodes."""

    def __init__(
        self, nodes: dict[int, Node], out: Outbound, book: RequestBook, gate: Gate
    ) -> None:
        self.has_group = False
        """Whether the way to the multicast group is open."""
        self._nodes = nodes
        self._out = out
        self._book = book
        self._gate = gate
        self._cast: Cast | None = None
        self._cast_request: Request | None = None
        self._last_cast: Request | None = None
        self._held: Request | None = None
        self._hold_until = 0.0
        self._triggers = Triggers(nodes, out, gate, self._hears, self._is_group_up, self.renumber)
        self._alarms: Alarms[Node] = Alarms()
        """When to look at a node's transfer."""
        self._touched: dict[Node, None] = {}
        """Nodes that may have something to begin or to send."""
        self._waiting: dict[Node, None] = {}
        """Nodes with something in their queue."""
        self._laggards: dict[int, int] = {}
        """Images left, by node, for which nobody waits until it is ready."""

    # Whom to ask.

    def ask_many(self, slots: NDArray[np.intp], request: Request) -> None:
        """Put a new request to the nodes at these slots."""
        if request.triggered:
            self._gate.ask(request.ballot, slots)
            self._triggers.begin(request)
            return
        for node in self._gate.ids[slots].tolist():
            self.ask(self._nodes[node], request)

    def ask(self, node: Node, request: Request) -> None:
        """Put a request into a node's queue: older ones first, as the node wants them."""
        request.ballot.ask(node.slot, node.state == "up")
        if request.triggered:
            self._triggers.ask(node, request)
            return
        request.engaged.add(node.id)
        node.queue.append(request)
        self._waiting[node] = None
        node.publish_work()
        self.touch(node)
        if len(node.queue) > 1 and node.queue[-2].started > request.started:
            node.queue = deque(sorted(node.queue, key=lambda waiting: waiting.started))

    def ask_again(self, node: Node) -> None:
        """A node came up: it gets the open requests that it was asked before."""
        node.doubted = 0
        self._laggards.pop(node.id, None)
        for request in self._book.open.values():
            if request.asked(node) and not request.settled(node):
                self.ask(node, request)

    def renumber(self, node: Node, request: Request) -> None:
        """A new number for one node, for which a request is to be the newest."""
        self._out.begin_request()
        self._book.renumber(request, node.id)

    def is_behind(self, node: Node, number: int) -> bool:
        """Whether a node was sent a newer number than this, or may have heard one: it is right to
        call it superseded then."""
        newest = [node.newest_request, self._out.newest_cast if node.listens else None]
        return any(other is not None and is_newer(other, number) for other in newest)

    # What changes meanwhile.

    def touch(self, node: Node) -> None:
        """Something changed for a node: `drive` looks at it."""
        self._touched[node] = None

    def restart(self, now: float, node: Node) -> None:
        """A node may have forgotten everything."""
        if node.transfer is not None:
            node.transfer.restart(now)
            self.touch(node)
        self._triggers.restart(now, node)

    def acknowledge(self, now: float, node: Node, sack: Sack, counter: int) -> None:
        """A node says how far it is, in a message of this counter."""
        if node.transfer and node.request and node.request.number(node.id) == sack.request:
            node.transfer.acknowledge(sack, counter, now)
            self.touch(node)
        else:
            self._triggers.under_way(now, node, sack)

    def drop(self, node: Node) -> None:
        """A node is gone."""
        self.release(node)
        for request in node.queue:
            request.engaged.discard(node.id)
        node.queue.clear()
        node.publish_work()
        self.touch(node)
        self._triggers.drop(node)

    def release(self, node: Node) -> None:
        """What a node works on is over for it."""
        if self._cast is not None:
            self._cast.drop(node.id)
        if node.request is not None:
            node.request.ballot.work(node.slot, False)
            node.request.engaged.discard(node.id)
        node.request, node.transfer = None, None
        node.publish_work()
        self.touch(node)

    def forget(self, request: Request) -> None:
        """A request is over for all."""
        if request.triggered:
            self._triggers.forget(request)
            return
        for node_id in list(request.engaged):
            node = self._nodes[node_id]
            if node.request is request:
                self.release(node)
            if request in node.queue:
                node.queue.remove(request)
                node.publish_work()
                self.touch(node)
        request.engaged.clear()
        if self._cast_request is request:
            self._cast, self._cast_request = None, None
        if self._last_cast is request:
            self._last_cast = None
        if self._held is request:
            self._held = None

    def wake_at(self) -> float:
        """When `drive` has something to do, if nothing happens before."""
        times = [self._alarms.wake_at(), self._triggers.wake_at()]
        if self._cast is not None:
            times.append(self._cast.wake_at())
        if self._held is not None:
            times.append(self._hold_until)
        return min(times)

    # What to send.

    def drive(self, now: float) -> None:
        """Begin and send what is due."""
        self._triggers.drive(now)
        self._waiting = {node: None for node in self._waiting if node.queue}
        held: set[int] = set()
        if self.has_group and self._cast is None and (self._waiting or self._held is not None):
            held = self._plan_cast(now)
        for node in self._alarms.due(now):
            self.touch(node)
        touched, self._touched = self._touched, {}
        for node in touched:
            if node.id in held:
                self.touch(node)
                continue
            while node.request is None and node.queue:
                if self._triggers.holds(now, node, node.queue[0]):
                    self.touch(node)
                    break
                request = node.queue.popleft()
                if request.settled(node):
                    request.engaged.discard(node.id)
                    node.publish_work()
                else:
                    self._begin(now, node, request)
        if self._cast is not None and self._cast_request is not None:
            self._drive_cast(now, self._cast, self._cast_request)
        # A cast that has just ended leaves its members to themselves.
        touched.update(self._touched)
        for node in touched:
            self._send_due(now, node)

    def _send_due(self, now: float, node: Node) -> None:
        if node.transfer is None or node.request is None or self._in_cast(node):
            return
        for chunk in node.transfer.due(now):
            self._out.chunk(node, node.request, chunk)
        self._alarms.set(node, node.transfer.wake)

    def _begin(self, now: float, node: Node, request: Request) -> Transfer:
        """A node's next request; under a new number if it knows a newer one."""
        newest = node.newest_request
        if newest is not None and is_newer(newest, request.number(node.id)):
            self.renumber(node, request)
        node.newest_request = request.number(node.id)
        node.begun_boot = self._out.boot
        node.request = request
        node.transfer = Transfer(request.chunks, node.timing, now)
        request.ballot.sent(node.slot, now)
        request.ballot.work(node.slot, True)
        if node.doubted:
            node.doubted -= 1
        if node.id in self._laggards:
            self._laggards[node.id] -= 1
            if not self._laggards[node.id]:
                del self._laggards[node.id]
        if self._hears(node) and request.number(node.id) == request.id:
            if self._cast is not None and request is self._cast_request:
                self._cast.join(node.id, node.transfer, now)
            elif request is self._last_cast:
                node.transfer.ask_first(now)
        return node.transfer

    # Multicast.

    def _in_cast(self, node: Node) -> bool:
        return self._cast is not None and node.id in self._cast

    def _is_group_up(self) -> bool:
        return self.has_group

    def _hears(self, node: Node) -> bool:
        return self.has_group and node.alive and node.listens

    def _plan_cast(self, now: float) -> set[int]:
        """Begin a cast if it is time for one, or else tell which nodes are to wait for it."""
        held, self._held = self._held, None
        listeners = [node for node in self._nodes.values() if self._hears(node)]
        upcoming = {node.id: _upcoming(node) for node in listeners}
        first: Request | None = None
        for request in upcoming.values():
            # The group would hear what its members are to be spared.
            if request is None or request.plan.few:
                continue
            if first is None or is_newer(request.id, first.id):
                first = request
        if first is None:
            return set()
        with_it = [node for node in listeners if upcoming[node.id] is first]
        capturing = {node.id for node in listeners if self._triggers.holds(now, node, first)}
        ready = [
            node
            for node in with_it
            if node.transfer is None and node.id not in capturing and self._takes(node, first)
        ]
        behind = [
            node
            for node in listeners
            if node.id in capturing
            or (node.transfer is not None and not node.transfer.completed)
            or upcoming[node.id] not in (None, first)
        ]
        if not behind and _worth_it(ready):
            self._begin_cast(now, first, ready)
            return set()
        late = behind or [
            node for node in with_it if node.transfer is not None and node.id not in self._laggards
        ]
        hopeless = any(node.id in self._laggards or node.request is first for node in late)
        if not ready or hopeless or not _worth_it([*ready, *late]):
            return set()
        if held is not first:
            timing = ready[0].timing
            patience = _HOLD_TIMEOUTS * timing.timeout(WINDOW)
            self._hold_until = now + max(patience, _HOLD_SHARE * timing.answer_s)
        if now >= self._hold_until:
            self._laggards.update((node.id, _LAG_IMAGES) for node in late)
            return set()
        self._held = first
        return {node.id for node in ready}

    def _begin_cast(self, now: float, request: Request, ready: list[Node]) -> None:
        doubted = {node.id for node in ready if node.doubted}
        transfers = {}
        for node in ready:
            while (other := node.queue.popleft()) is not request:
                other.engaged.discard(node.id)
            transfers[node.id] = self._begin(now, node, request)
        for node in self._nodes.values():
            newest = node.newest_request
            if not node.listens:
                continue
            if newest is None or is_newer(request.id, newest):
                node.newest_request = request.id
        self._cast = Cast(request.chunks, transfers, doubted, now)
        self._cast_request = self._last_cast = request

    def _takes(self, node: Node, request: Request) -> bool:
        """Whether a node takes a request under the number that all know it by."""
        newest = node.newest_request
        return request.number(node.id) == request.id and (
            newest is None or not is_newer(newest, request.id)
        )

    def _drive_cast(self, now: float, cast: Cast, request: Request) -> None:
        for node_id, chunk in cast.due(now):
            if node_id is None:
                self._out.cast(self._nodes.values(), cast.members, request, chunk)
            else:
                self._out.chunk(self._nodes[node_id], request, chunk)
        if cast.over:
            behind = set(cast.behind)
            for node_id in cast.members:
                self._nodes[node_id].doubted = DOUBT_REQUESTS if node_id in behind else 0
                self.touch(self._nodes[node_id])
            self._cast, self._cast_request = None, None


def _upcoming(node: Node) -> Request | None:
    """The next image that a node is to get."""
    return next((request for request in node.queue if not request.settled(node)), None)


def _worth_it(nodes: list[Node]) -> bool:
    """Whether multicast saves anything: it probably reaches several of these."""
    return sum(not node.doubted for node in nodes) > 1
