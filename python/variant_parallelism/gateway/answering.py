"""Requests from the question to the answer: who is asked, what counts, when it is over."""

from __future__ import annotations

import logging
from collections import deque

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.alarms import Alarms
from variant_parallelism.gateway.ballot import ASKED, HERE
from variant_parallelism.gateway.combining import conclude, lost
from variant_parallelism.gateway.gate import NOBODY, Gate
from variant_parallelism.gateway.judging.moderator import Moderator
from variant_parallelism.gateway.judging.plans import caught_up_at
from variant_parallelism.gateway.liveness import Liveness
from variant_parallelism.gateway.outbound import Outbound
from variant_parallelism.gateway.requests import Request, RequestBook, check, check_terms
from variant_parallelism.gateway.roster import Node
from variant_parallelism.gateway.sending import Sending
from variant_parallelism.gateway.types import Answer, Answered, Event, Warned
from variant_parallelism.wire import ErrorCode, NodeError, Prediction

log = logging.getLogger("variant_parallelism.gateway")


class Answering:
    """A fleet's open requests."""

    def __init__(
        self,
        fleet: Fleet,
        nodes: dict[int, Node],
        out: Outbound,
        book: RequestBook,
        sending: Sending,
        liveness: Liveness,
        gate: Gate,
        events: deque[Event],
    ) -> None:
        self.moderator = Moderator(fleet, nodes, gate, liveness, sending.ask)
        self._fleet = fleet
        self._nodes = nodes
        self._out = out
        self._book = book
        self._sending = sending
        self._liveness = liveness
        self._gate = gate
        self._events = events
        self._deadlines: Alarms[Request] = Alarms()
        self._concluded_at = 0.0
        self._dirty: dict[Request, None] = {}
        """Those that may be over."""

    def submit(
        self,
        now: float,
        image: NDArray[np.uint8],
        k: int | None,
        deadline_s: float | None,
        label: int | None,
    ) -> Request:
        """Ask about an image: see `Core.submit`."""
        automatic = deadline_s is None
        k, deadline_s = self._terms(k, deadline_s)
        check(self._fleet, image, k, deadline_s, label)
        self._out.begin_request()
        return self._begin(now, self._book.add(image, k, now, now + deadline_s), label, automatic)

    def trigger(
        self, now: float, k: int | None, deadline_s: float | None, label: int | None
    ) -> Request:
        """Have the nodes capture: see `Core.trigger`."""
        automatic = deadline_s is None
        k, deadline_s = self._terms(k, deadline_s)
        check_terms(self._fleet, k, deadline_s, label)
        without = self._without_source()
        if without and not self._gate.has_source.any():
            raise VpError("no node that was heard of has an input source: send an image instead")
        self._out.begin_request()
        request = self._book.add_trigger(k, now, now + deadline_s)
        self._begin(now, request, label, automatic)
        request.errors.update(dict.fromkeys(without, ErrorCode.SOURCE.text))
        return request

    def _without_source(self) -> list[int]:
        """Nodes that announced themselves, but no input source."""
        if self._gate.crowd.all_have_source:
            return []
        nodes = self._nodes.values()
        return [node.id for node in nodes if node.hello is not None and not node.has_source]

    def _terms(self, k: int | None, deadline_s: float | None) -> tuple[int, float]:
        k = self._fleet.table.k if k is None else k
        if deadline_s is None:
            deadline_s = self._fleet.table.deadline_ms / 1000
        return k, deadline_s

    def _begin(self, now: float, request: Request, label: int | None, automatic: bool) -> Request:
        request.label = label
        self._gate.count(NOBODY, "requests")
        able = self._gate.able(with_source=request.triggered)
        self._sending.ask_many(self.moderator.begin(now, request, able, automatic), request)
        self._deadlines.set(request, request.plan.wake_at(request.deadline))
        self._dirty[request] = None
        return request

    def cancel(self, request: Request) -> None:
        """Nobody waits for this request any more."""
        if self._book.open.get(request.id) is request:
            self._forget(request)

    def wake_at(self) -> float:
        """When `conclude` has something to do, if nothing arrives before."""
        return self._concluded_at if self._dirty else self._deadlines.wake_at()

    def reload(self, fleet: Fleet, gone: list[Node]) -> None:
        """Answer for `fleet` from here on. Nodes that are `gone` are not waited for; the votes that
        they gave count as they would have."""
        for request in self._book.open.values():
            for node in gone:
                request.ballot.withdraw(node.slot)
            if request.combiner is None and any(request.has_vote(node) for node in gone):
                request.combiner = self.moderator.combiner
        self._fleet = fleet
        self.moderator.reload(fleet)
        self.states_changed()

    # Who takes part.

    def states_changed(self) -> None:
        """Other nodes than before are waited for."""
        awaited = self._gate.awaited
        for request in self._book.open.values():
            request.ballot.recount(awaited)
            self._dirty[request] = None

    # What arrives.

    def voted(self) -> None:
        """The gate put votes into ballots."""
        for slot, time_s in self._gate.releases():
            node = self._nodes[int(self._gate.ids[slot])]
            node.timing.sample_answer(time_s)
            self._sending.release(node)
        for number in self._gate.touched():
            request = self._book.find(number)
            if request is not None:
                self._dirty[request] = None

    def prediction(self, now: float, node: Node, prediction: Prediction, wire_bytes: int) -> None:
        """A prediction that the gate left to be judged; it took so many bytes on its link."""
        if node.state == "refused" or node.unannounced:
            node.count("refused")
        elif not self._gate.vote(node.slot, prediction, wire_bytes, now):
            ended = self._book.ended(prediction.request)
            if ended is None or not ended.asked(node):
                node.count("foreign")
            else:
                node.count("duplicate" if ended.has_vote(node) else "late")
                since = ended.waiting.pop(node.slot, None)
                if since is not None:
                    self.moderator.late(now, node, since, ended.plan, ended.deadline)

    def error(self, now: float, node: Node, error: NodeError) -> None:
        """Why a node has no vote."""
        request = self._book.find(error.request)
        if (
            request is None
            or not request.asked(node)
            or request.settled(node)
            or request.number(node.id) != error.request
        ):
            node.count("late")
            return
        node.count("errors")
        working = node.request is request
        if working:
            self._sending.release(node)
        again = error.code is ErrorCode.SUPERSEDED
        renumbered = node.id in request.numbers
        if again and (not renumbered or self._sending.is_behind(node, error.request)):
            self._sending.renumber(node, request)
        elif again and node.begun_boot == self._out.boot:
            again = self._liveness.superseded(now, node)
        if not again:
            request.errors[node.id] = error.code.text
            request.ballot.fail(node.slot, node.state == "up")
            self._dirty[request] = None
        elif working or request.triggered:
            self._sending.ask(node, request)

    # The end.

    def conclude(self, now: float) -> None:
        """End the requests that nobody is waited for any more, and those at their deadline."""
        if not self._dirty and self._deadlines.wake_at() > now:
            return
        self._concluded_at = now
        dirty, self._dirty = self._dirty, {}
        dirty.update(dict.fromkeys(self._deadlines.due(now)))
        for request in dirty:
            if not self._is_open(request):
                continue
            try:
                self._look_at(now, request)
            except Exception as error:
                # A mistake in one request must neither leave it open nor stop the others.
                log.exception("request %d failed", request.id)
                self._fail(now, request, error)

    def _is_open(self, request: Request) -> bool:
        return self._book.open.get(request.id) is request

    def _look_at(self, now: float, request: Request) -> None:
        if now >= request.deadline and self._is_read(now, request):
            self._finish(now, request)
            return
        request.plan.catch_up(now)
        if not request.ballot.here and not request.ballot.awaited:
            self._ask_others(request)
        if self.moderator.is_over(now, request):
            self._finish(now, request)
        else:
            end = request.deadline if request.open_until is None else request.open_until
            self._deadlines.set(request, request.plan.wake_at(end))

    def _is_read(self, now: float, request: Request) -> bool:
        """Whether the votes that came before the deadline are read.

        A gateway that did not run for a while (a busy machine, Ctrl-Z, a laptop's sleep) notices
        deadlines before it reads what came in time. So a deadline is noticed first, and judged when
        there was time to read: once, so that a flood or the next stall keeps no request open.
        """
        if request.open_until is None:
            request.open_until = caught_up_at(now, request.deadline)
            return False
        return now >= request.open_until

    def _ask_others(self, request: Request) -> None:
        """Ask whoever is alive about a request that nobody answered or still may answer."""
        nodes = self._nodes.values()
        if any(node.alive and request.asked(node) and not request.settled(node) for node in nodes):
            return
        for node in nodes:
            able = not request.triggered or node.has_source
            if node.alive and able and not request.asked(node):
                request.ballot.grow(self._gate.size)
                self._sending.ask(node, request)

    def _finish(self, now: float, request: Request) -> None:
        ballot = request.ballot
        combiner = request.combiner or self.moderator.combiner
        answer = conclude(self._fleet, combiner, self._gate, request, now)
        if ballot.here < self._gate.size:
            silent = np.flatnonzero(ballot.states & (ASKED | HERE) == ASKED)
            self._gate.count_many(silent, {"lost": 1})
        self._end(request, answer)
        self.moderator.ended(now, request, answer)

    def _fail(self, now: float, request: Request, error: Exception) -> None:
        """A request ends without an answer, because of a mistake of ours."""
        self._events.append(Warned(f"request {request.id} failed: {error!r}; this is a bug"))
        if self._is_open(request):
            self._end(request, lost(self._fleet, self._gate, request, now))

    def _end(self, request: Request, answer: Answer) -> None:
        self._gate.count(NOBODY, "lost" if answer.class_index is None else "answers")
        image = None
        if not request.triggered:
            image = np.frombuffer(request.data, np.uint8).reshape(request.shape)
        self._events.append(Answered(answer, image))
        self._forget(request)

    def _forget(self, request: Request) -> None:
        self._deadlines.forget(request)
        self._book.end(request)
        self._sending.forget(request)
