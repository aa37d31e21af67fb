"""Who is sent which image, and how: to each node by itself, or to a multicast group.

A node gets one image after the other, oldest first. A group's chunks reach every node that listens,
and the first chunk of a newer image replaces one that is not complete; so multicast begins only
while no listener is in the middle of an image, and one image at a time. Nodes that are not ready
get theirs by unicast, as do those that multicast turned out not to reach.
"""

from __future__ import annotations

from collections import deque

from variant_parallelism.gateway.cast import Cast
from variant_parallelism.gateway.dispatch import Transfer
from variant_parallelism.gateway.outbound import Outbound
from variant_parallelism.gateway.requests import Request, RequestBook, is_newer
from variant_parallelism.gateway.roster import Node

_DOUBT_IMAGES = 16
"""Images after which a node that multicast did not reach is waited for again."""


class Sending:
    """Queues, transfers and casts of a fleet's nodes."""

    def __init__(self, nodes: dict[int, Node], out: Outbound, book: RequestBook) -> None:
        self.has_group = False
        """Whether the way to the multicast group is open."""
        self._nodes = nodes
        self._out = out
        self._book = book
        self._cast: Cast | None = None
        self._cast_request: Request | None = None

    # Whom to ask.

    def ask(self, node: Node, request: Request) -> None:
        """Put a request into a node's queue: older ones first, as the node wants them."""
        request.asked.add(node.id)
        node.queue.append(request)
        if len(node.queue) > 1 and node.queue[-2].started > request.started:
            node.queue = deque(sorted(node.queue, key=lambda waiting: waiting.started))

    def ask_again(self, node: Node) -> None:
        """A node came up: it gets the open requests that it was asked before."""
        node.doubted = 0
        for request in self._book.open.values():
            if node.id in request.asked and not request.settled(node.id):
                self.ask(node, request)

    def ask_others(self) -> None:
        """Ask whoever is up about the requests that nobody answered or still may answer."""
        for request in self._book.open.values():
            if request.votes or any(self._may_answer(node, request) for node in request.asked):
                continue
            for node in self._nodes.values():
                if node.state == "up" and node.id not in request.asked:
                    self.ask(node, request)

    def _may_answer(self, node_id: int, request: Request) -> bool:
        return self._nodes[node_id].state == "up" and not request.settled(node_id)

    def renumber(self, node: Node, request: Request) -> None:
        """A new number for one node, for which a request is to be the newest."""
        self._out.begin_request()
        self._book.renumber(request, node.id)

    # What changes meanwhile.

    def release(self, node: Node) -> None:
        """What a node works on is over for it."""
        if self._cast is not None:
            self._cast.drop(node.id)
        node.request, node.transfer = None, None

    def forget(self, request: Request) -> None:
        """A request is over for all."""
        for node in self._nodes.values():
            if node.request is request:
                self.release(node)
            if request in node.queue:
                node.queue.remove(request)
        if self._cast_request is request:
            self._cast, self._cast_request = None, None

    def wake_at(self) -> float:
        """When `drive` has something to do, if nothing happens before."""
        times = [
            node.transfer.wake
            for node in self._nodes.values()
            if node.transfer is not None and not self._in_cast(node)
        ]
        if self._cast is not None:
            times.append(self._cast.wake_at())
        return min(times, default=float("inf"))

    # What to send.

    def drive(self, now: float) -> None:
        """Begin and send what is due."""
        if self.has_group and self._cast is None:
            self._begin_cast(now)
        for node in self._nodes.values():
            while node.request is None and node.queue:
                request = node.queue.popleft()
                if not request.settled(node.id):
                    self._begin(now, node, request)
        if self._cast is not None and self._cast_request is not None:
            self._drive_cast(now, self._cast, self._cast_request)
        for node in self._nodes.values():
            if node.transfer is None or node.request is None or self._in_cast(node):
                continue
            for chunk in node.transfer.due(now):
                self._out.chunk(node, node.request, chunk)

    def _begin(self, now: float, node: Node, request: Request) -> Transfer:
        """A node's next request; under a new number if it knows a newer one."""
        newest = node.newest_request
        if newest is not None and is_newer(newest, request.number(node.id)):
            self.renumber(node, request)
        node.newest_request = request.number(node.id)
        node.begun_boot = self._out.boot
        node.request = request
        node.transfer = Transfer(request.chunks, node.timing, now)
        request.first_sent.setdefault(node.id, now)
        if node.doubted:
            node.doubted -= 1
        heard = request is self._cast_request and request.number(node.id) == request.id
        if self._cast is not None and heard and self._hears(node):
            self._cast.join(node.id, node.transfer, now)
        return node.transfer

    # Multicast.

    def _in_cast(self, node: Node) -> bool:
        return self._cast is not None and node.id in self._cast

    def _hears(self, node: Node) -> bool:
        return self.has_group and node.state == "up" and _listens(node)

    def _begin_cast(self, now: float) -> None:
        ready: list[Node] = []
        first: Request | None = None
        for node in filter(self._hears, self._nodes.values()):
            if node.transfer is not None and not node.transfer.completed:
                return
            request = next((r for r in node.queue if not r.settled(node.id)), None)
            if request is None:
                continue
            if first is not None and request is not first:
                return
            first = request
            if node.transfer is None and self._takes(node, request):
                ready.append(node)
        if first is None or sum(not node.doubted for node in ready) < 2:
            return
        doubted = {node.id for node in ready if node.doubted}
        transfers = {}
        for node in ready:
            while node.queue.popleft() is not first:
                pass
            transfers[node.id] = self._begin(now, node, first)
        for node in self._nodes.values():
            newest = node.newest_request
            if not _listens(node):
                continue
            if newest is None or is_newer(first.id, newest):
                node.newest_request = first.id
        self._cast = Cast(first.chunks, transfers, doubted, now)
        self._cast_request = first

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
            for node_id in cast.members:
                self._nodes[node_id].doubted = _DOUBT_IMAGES if node_id in cast.behind else 0
            self._cast, self._cast_request = None, None


def _listens(node: Node) -> bool:
    """Whether a node, alive or not, has announced that it listens to the group."""
    return not node.serial and node.hello is not None and node.hello.multicast
