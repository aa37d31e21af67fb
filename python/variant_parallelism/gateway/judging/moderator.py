"""Between the core and the judge: whom to ask, when an answer is ready, what follows for nodes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.aggregate import winner
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.ballot import ASKED, ERROR, HERE
from variant_parallelism.gateway.combining import Combiner, FleetCombiner
from variant_parallelism.gateway.gate import NOBODY, Gate
from variant_parallelism.gateway.judging.judge import Ended, Judge, Standing, unanimous
from variant_parallelism.gateway.judging.plans import NEVER, Plan
from variant_parallelism.gateway.liveness import Liveness
from variant_parallelism.gateway.requests import Request
from variant_parallelism.gateway.roster import Node
from variant_parallelism.gateway.types import Answer
from variant_parallelism.gateway.votes import Votes

_FIRST_SHARE = 0.5
"""How much of the time to the deadline the nodes asked first have at most."""
_LEARN_GAP_S = 0.002
"""No more than one request in this time is learnt from: it costs some 20 microseconds."""
_JUDGE_GAP_S = 0.1
"""Between two looks at who is to be left out or taken back, which go through all nodes."""

Ask = Callable[[Node, Request], None]
Slots = NDArray[np.intp]


class _Trusting:
    """Combines as one that heeds trust does, with the judge's."""

    def __init__(self, combiner: FleetCombiner, judge: Judge, slots: dict[int, int]) -> None:
        """`slots` are the nodes' by their ids."""
        self._combiner = combiner
        self._judge = judge
        self._slots = slots

    def __call__(
        self,
        nodes: NDArray[np.int64],
        classes: NDArray[np.integer],
        scores: NDArray[np.int8],
    ) -> NDArray[np.float64]:
        slots = np.array([self._slots[node] for node in nodes.tolist()])
        return self._combiner(nodes, classes, scores, self._judge.trust(slots))


class Moderator:
    """Applies `[judging]` to a fleet's requests."""

    def __init__(
        self,
        fleet: Fleet,
        nodes: dict[int, Node],
        gate: Gate,
        liveness: Liveness,
        ask: Ask,
    ) -> None:
        """`ask` puts a request to a node."""
        self.judge = Judge(fleet)
        self._nodes = nodes
        self._gate = gate
        self._liveness = liveness
        self._ask = ask
        self._table = fleet.table.judging
        self.combiner = self._combiner(fleet)
        """The fleet's method, with what the judge knows."""
        self._learn_at = self._judge_at = float("-inf")

    def _combiner(self, fleet: Fleet) -> Combiner:
        combiner = FleetCombiner(fleet)
        if not combiner.heeds_trust:
            return combiner
        return _Trusting(
            combiner, self.judge, {node.id: node.slot for node in self._nodes.values()}
        )

    # Whom to ask.

    def begin(self, now: float, request: Request, able: Slots, automatic: bool) -> Slots:
        """Whom to ask at first of those who could be asked, by their slots. `automatic`: the
        caller set no deadline."""
        plan, judge = request.plan, self.judge
        if automatic and self._table.deadline == "auto":
            limit_s = request.deadline - now
            plan.patience_s = judge.patience_s(now, np.flatnonzero(self._gate.awaited), limit_s)
        if not request.triggered and judge.asks_few():
            up = np.flatnonzero(self._gate.awaited)
            if len(up) > (self._table.first or 0):
                return self._begin_with_few(now, request, up)
        self._watch_for_stragglers(now, request)
        return able

    def _begin_with_few(self, now: float, request: Request, up: Slots) -> Slots:
        plan = request.plan
        plan.first, plan.few = np.sort(self.judge.cheapest(up)), True
        limit_s = _FIRST_SHARE * (request.deadline - now)
        usual_s = self.judge.patience_of_few_s(now, plan.first, limit_s)
        plan.widen_at = now + (limit_s if usual_s is None else usual_s)
        return plan.first

    def _watch_for_stragglers(self, now: float, request: Request) -> None:
        if request.plan.patience_s is not None:
            request.plan.hurry_at = now + request.plan.patience_s

    # Whether it is over.

    def is_over(self, now: float, request: Request) -> bool:
        """Whether a request has its answer, or none can come; others are asked if need be."""
        plan, ballot = request.plan, request.ballot
        if plan.first is not None:
            if self._first_agree(request):
                plan.spared = self._not_asked(request)
                return True
            if now < plan.widen_at and not self._first_failed(request):
                return False
            self._widen(now, request)
        if now >= plan.hurry_at:
            self._look_at_stragglers(now, request)
        if not ballot.awaited:
            return self._has_all(request)
        return plan.hurries and self._votes(request) >= self._quorum(request)

    def _has_all(self, request: Request) -> bool:
        """Of a request that nobody who counts is waited for: whether there is nobody else whose
        vote would keep it from being lost."""
        ballot = request.ballot
        if ballot.here and (not self._gate.crowd.any_quarantined or self._votes(request)):
            return True
        nodes = [node for node in self._nodes.values() if node.alive and request.asked(node)]
        if any(not request.settled(node) for node in nodes):
            return False
        return ballot.here > 0 or bool(nodes)

    def _votes(self, request: Request) -> int:
        """Votes that count."""
        if not self._gate.crowd.any_quarantined:
            return request.ballot.here
        states = request.ballot.states
        left_out = self._gate.quarantined[: len(states)]
        return int(np.count_nonzero(((states & HERE) > 0) & (left_out == 0)))

    def _quorum(self, request: Request) -> int:
        ballot = request.ballot
        return self.judge.quorum(self._votes(request) + ballot.awaited, self._caught())

    def _caught(self) -> int:
        if not self._gate.crowd.any_quarantined:
            return 0
        nodes = self._nodes.values()
        return sum(
            node.quarantine is not None and node.quarantine.origin == "agreement" for node in nodes
        )

    def _look_at_stragglers(self, now: float, request: Request) -> None:
        """Whether the nodes have had their usual time since most of them were sent the request."""
        plan, ballot = request.plan, request.ballot
        assert plan.patience_s is not None
        asked = np.flatnonzero(ballot.states & ASKED)
        asked = asked[self._gate.quarantined[asked] == 0]
        sent = np.sort(ballot.sent_to(asked))
        begun = float(sent[len(sent) // 2]) if len(sent) else NEVER
        if begun + plan.patience_s <= now:
            plan.hurries, plan.hurry_at = True, NEVER
        else:
            plan.hurry_at = min(begun, now) + plan.patience_s

    # The nodes asked first.

    def _first_agree(self, request: Request) -> bool:
        first, ballot, k = request.plan.first, request.ballot, request.k
        assert first is not None
        if ballot.here < len(first) or not (ballot.states[first] & HERE).all():
            return False
        if (self._gate.quarantined[first] > 0).any():
            return False
        slots = self._gate.by_id(first)
        rows = ballot.rows[slots]
        classes, scores = rows["classes"][:, :k], rows["scores"][:, :k]
        if not unanimous(classes[:, 0], first.tolist()):
            return False
        combiner = request.combiner or self.combiner
        combined = combiner(self._gate.ids[slots].astype(np.int64), classes, scores)
        return float(combined[int(winner(combined))]) >= self._table.confidence

    def _first_failed(self, request: Request) -> bool:
        """Whether the first nodes cannot agree any more: one has no vote, or two differ, or all
        voted and are not sure."""
        first, ballot = request.plan.first, request.ballot
        assert first is not None
        states = ballot.states[first]
        here = (states & HERE) > 0
        if here.all() or ((states & ERROR) > 0)[~here].any():
            return True
        if (self._gate.awaited[first[~here]] == 0).any():
            return True
        votes = ballot.rows["classes"][first[here], 0]
        return bool(len(votes)) and bool((votes != votes[0]).any())

    def _widen(self, now: float, request: Request) -> None:
        """The first nodes do not suffice: ask the others, but none that a reload brought since:
        what combines the votes may not know them, and their ids may have voted before."""
        request.plan.first = None
        others = self._not_asked(request)
        for node in self._gate.ids[others[others < request.ballot.size]].tolist():
            self._ask(self._nodes[node], request)
        self._watch_for_stragglers(now, request)

    def _not_asked(self, request: Request) -> Slots:
        able, states = self._gate.able(with_source=False), request.ballot.states
        known = able[: np.searchsorted(able, len(states))]
        return np.append(known[states[known] & ASKED == 0], able[len(known) :])

    # What is learnt.

    def ended(self, now: float, request: Request, answer: Answer) -> None:
        """A request has its answer: learn from it, and leave out or take back nodes."""
        gate, spared = self._gate, request.plan.spared
        if spared is not None:
            gate.count(NOBODY, "early")
            gate.count(NOBODY, "spared", len(spared))
            gate.count_many(spared, {"spared": 1})
        any_left_out = gate.crowd.any_quarantined
        if now < self._learn_at and not any_left_out:
            return
        votes, states = answer.votes, request.ballot.states
        assert isinstance(votes, Votes)
        here = gate.voters(request.ballot)
        if any_left_out:
            for slot in here[~votes.counted].tolist():
                gate.count(slot, "uncounted")
        if now < self._learn_at:
            return
        self._learn_at = now + _LEARN_GAP_S
        request.plan.learnt = True
        asked = np.flatnonzero(states & ASKED)
        self.judge.learn(
            Ended(
                here,
                votes.classes[:, 0],
                votes.latencies_ms,
                votes.counted,
                asked,
                (states[asked] & HERE) > 0,
                answer.class_index,
                request.label,
                partial=spared is not None,
            )
        )
        if now >= self._judge_at and (self.judge.suspects() or any_left_out):
            self._judge_at = now + _JUDGE_GAP_S
            self._apply_verdicts(now)

    def late(self, now: float, node: Node, since: float, plan: Plan, deadline: float) -> None:
        """A node's vote came after its request had ended; it was sent it at `since`."""
        patience_s = NEVER if plan.patience_s is None else plan.patience_s
        forgiven = plan.learnt and now <= min(deadline, since + patience_s)
        self.judge.late(node.slot, (now - since) * 1000, forgiven)

    def _apply_verdicts(self, now: float) -> None:
        nodes = {node.slot: node for node in self._nodes.values()}
        standings = {
            slot: Standing(node.alive, node.quarantine, node.quarantines)
            for slot, node in nodes.items()
        }
        for verdict in self.judge.verdicts(standings):
            node = nodes[verdict.slot]
            if verdict.quarantine is None:
                self._liveness.take_back(now, node, verdict.reason)
            else:
                node.quarantines += 1
                self._liveness.leave_out(now, node, verdict.quarantine)

    def reload(self, fleet: Fleet) -> None:
        """The fleet file, or the fleet's nodes, are others now; what is known of nodes stays."""
        self._table = fleet.table.judging
        self.combiner = self._combiner(fleet)
        self.judge.reload(
            self._table, {node.slot: node.variant.macs for node in self._nodes.values()}
        )
        for node in self._nodes.values():
            if node.quarantine is not None:
                node.quarantine.since = self.judge.watched_from(node.slot, node.quarantine)

    def pardon(self, node: Node) -> None:
        """The operator takes a node back: what is held against it is forgotten."""
        node.quarantines = 0
        self.judge.pardon(node.slot)
