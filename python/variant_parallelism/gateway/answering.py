"""Requests from the question to the answer: who is asked, what counts, when it is over."""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.combining import Combiner, conclude
from variant_parallelism.gateway.liveness import Liveness
from variant_parallelism.gateway.outbound import Outbound
from variant_parallelism.gateway.requests import Request, RequestBook, check, check_terms
from variant_parallelism.gateway.roster import Node
from variant_parallelism.gateway.sending import Sending
from variant_parallelism.gateway.triggers import has_source
from variant_parallelism.gateway.types import Answered, Counters, Event, Vote
from variant_parallelism.wire import ErrorCode, NodeError, Prediction


class Answering:
    """A fleet's open requests. `combiner` makes scores of votes, and may be replaced."""

    def __init__(
        self,
        fleet: Fleet,
        nodes: dict[int, Node],
        out: Outbound,
        book: RequestBook,
        sending: Sending,
        liveness: Liveness,
        counters: Counters,
        events: deque[Event],
        combiner: Combiner,
    ) -> None:
        """`counters` are the fleet's."""
        self.combiner = combiner
        self._fleet = fleet
        self._nodes = nodes
        self._out = out
        self._book = book
        self._sending = sending
        self._liveness = liveness
        self._counters = counters
        self._events = events

    def submit(
        self,
        now: float,
        image: NDArray[np.uint8],
        k: int | None,
        deadline_s: float | None,
        label: int | None,
    ) -> Request:
        """Ask about an image: see `Core.submit`."""
        k, deadline_s = self._terms(k, deadline_s)
        check(self._fleet, image, k, deadline_s, label)
        self._out.begin_request()
        return self._begin(self._book.add(image, k, now, now + deadline_s), label)

    def trigger(
        self, now: float, k: int | None, deadline_s: float | None, label: int | None
    ) -> Request:
        """Have the nodes capture: see `Core.trigger`."""
        k, deadline_s = self._terms(k, deadline_s)
        check_terms(self._fleet, k, deadline_s, label)
        announced = [node for node in self._nodes.values() if node.hello is not None]
        if announced and not any(map(has_source, announced)):
            raise VpError("no node that was heard of has an input source: send an image instead")
        self._out.begin_request()
        request = self._begin(self._book.add_trigger(k, now, now + deadline_s), label)
        for node in announced:
            if not has_source(node):
                request.errors[node.id] = ErrorCode.SOURCE.text
        return request

    def _terms(self, k: int | None, deadline_s: float | None) -> tuple[int, float]:
        k = self._fleet.table.k if k is None else k
        if deadline_s is None:
            deadline_s = self._fleet.table.deadline_ms / 1000
        return k, deadline_s

    def _begin(self, request: Request, label: int | None) -> Request:
        request.label = label
        self._counters.requests += 1
        for node in self._chosen(request):
            self._sending.ask(node, request)
        return request

    def cancel(self, request: Request) -> None:
        """Nobody waits for this request any more."""
        if self._book.open.get(request.id) is request:
            self._forget(request)

    def wake_at(self) -> float:
        """When `conclude` has something to do, if nothing arrives before."""
        return min((request.deadline for request in self._book.open.values()), default=float("inf"))

    # Who takes part.

    def _chosen(self, request: Request) -> list[Node]:
        """Whom a new request is put to."""
        return [
            node
            for node in self._nodes.values()
            if node.state == "up" and (not request.triggered or has_source(node))
        ]

    def _awaits(self, request: Request, node_id: int) -> bool:
        """Whether a node that was asked is waited for."""
        return self._nodes[node_id].state == "up" and not request.settled(node_id)

    # What arrives.

    def prediction(self, now: float, node: Node, prediction: Prediction, wire_bytes: int) -> None:
        """A node's vote, which took so many bytes on its link."""
        if node.state == "refused" or node.unannounced:
            node.count("refused")
            return
        request = self._book.find(prediction.request)
        if request is None or node.id not in request.asked:
            ended = self._book.ended(prediction.request)
            if ended is None or node.id not in ended.asked:
                node.count("foreign")
            else:
                node.count("duplicate" if node.id in ended.votes else "late")
            return
        if node.id in request.votes:
            node.count("duplicate")
            return
        if len(prediction.entries) != request.k:
            node.count("foreign")
            return
        sent = request.first_sent.get(node.id, request.started)
        request.errors.pop(node.id, None)
        request.votes[node.id] = Vote(
            node.id,
            node.variant.name,
            prediction.entries,
            (now - sent) * 1000,
            prediction.time_ms,
            wire_bytes,
        )
        node.counters.answers += 1
        node.timing.sample_answer(prediction.time_ms / 1000)
        if node.request is request:
            self._sending.release(node)

    def error(self, now: float, node: Node, error: NodeError) -> None:
        """Why a node has no vote."""
        request = self._book.find(error.request)
        if (
            request is None
            or node.id not in request.asked
            or request.settled(node.id)
            or request.number(node.id) != error.request
        ):
            node.count("late")
            return
        node.count("errors")
        working = node.request is request
        if working:
            self._sending.release(node)
        again = error.code is ErrorCode.SUPERSEDED
        if again and node.id not in request.numbers:
            self._sending.renumber(node, request)
        elif again and node.begun_boot == self._out.boot:
            again = self._liveness.superseded(now, node)
        if not again:
            request.errors[node.id] = error.code.text
        elif working or request.triggered:
            self._sending.ask(node, request)

    # The end.

    def conclude(self, now: float) -> None:
        """End the requests that nobody is waited for any more, and those at their deadline."""
        for request in list(self._book.open.values()):
            if now >= request.deadline or self._is_complete(request):
                self._finish(now, request)

    def _is_complete(self, request: Request) -> bool:
        live = [node for node in request.asked if self._nodes[node].state == "up"]
        return (bool(live) or bool(request.votes)) and not any(
            self._awaits(request, node) for node in live
        )

    def _finish(self, now: float, request: Request) -> None:
        if request.votes:
            self._counters.answers += 1
        else:
            self._counters.lost += 1
        for node in request.asked - request.votes.keys():
            self._nodes[node].counters.lost += 1
        image = None
        if not request.triggered:
            image = np.frombuffer(request.data, np.uint8).reshape(request.shape)
        self._events.append(Answered(conclude(self._fleet, self.combiner, request, now), image))
        self._forget(request)

    def _forget(self, request: Request) -> None:
        self._book.end(request)
        self._sending.forget(request)
