"""One fleet's judge: learns from every answer, and says what follows for the nodes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.judging.deadlines import AutoDeadline
from variant_parallelism.gateway.judging.estimates import Estimates
from variant_parallelism.gateway.judging.quarantine import (
    JUDGED_FROM,
    Limits,
    Quarantine,
    Record,
    improvement,
    may_leave_out,
    offence,
)
from variant_parallelism.judging_table import JudgingTable

Slots = NDArray[np.integer]

_LEAST_RELIABLE = 0.1
_FEWEST_VOTES = 3
"""Votes from which on a request tells who agrees: of two that differ, nobody can."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What a request that ended tells of its nodes, by their slots.

    Of V votes: `slots`, `first` (their first classes), `latency_ms` and `counted`, each (V,), the
    slots all different. `asked` (A,) are the slots of all nodes that were asked, `answered` (A,)
    tells which of them voted. `answer` is the class that was answered, `label` the right one, if
    known. `partial`: others were spared.
    """

    slots: Slots
    first: NDArray[np.integer]
    latency_ms: NDArray[np.float64]
    counted: NDArray[np.bool_]
    asked: Slots
    answered: NDArray[np.bool_]
    answer: int | None
    label: int | None
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Standing:
    """A node as the judge sees it, besides its estimates.

    `quarantines` is how often it was left out by the judge.
    """

    alive: bool
    quarantine: Quarantine | None
    quarantines: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """A node is left out from now on, or (`quarantine` None) taken back, for `reason`."""

    slot: int
    quarantine: Quarantine | None
    reason: str


class Judge:
    """Estimates of a fleet's nodes, by slot, and the decisions made on them."""

    def __init__(self, fleet: Fleet) -> None:
        """Nodes have slots in the order of the fleet file."""
        macs = {slot: fleet.variant_of(node).macs for slot, node in enumerate(fleet.nodes)}
        self.table = fleet.table.judging
        self.estimates = Estimates(0, self.table.window)
        self._macs: NDArray[np.float64] = np.zeros(0)
        self._asked_first: NDArray[np.int64] = np.zeros(0, np.int64)
        self._questions = 0
        self.reload(self.table, macs)

    def reload(self, table: JudgingTable, macs: Mapping[int, int]) -> None:
        """Judge by this table from now on, the nodes at these slots, whose variants need so many
        multiply-accumulates; slots may be added. Another window starts all estimates anew."""
        if table.window != self.table.window:
            self.estimates = Estimates(len(self.estimates), table.window)
        self.table = table
        self.estimates.grow(max([len(self.estimates) - 1, *macs]) + 1)
        self._macs = np.resize(self._macs, len(self.estimates))
        self._asked_first = np.zeros(len(self.estimates), np.int64)
        for slot, needed in macs.items():
            self._macs[slot] = needed
        self._limits = Limits(table.min_agreement, table.min_reliability, table.window)
        margin, floor_s = table.deadline_margin, table.floor_ms / 1000
        self._deadline = AutoDeadline(self.estimates.latency, margin, floor_s)
        self._first_deadline = AutoDeadline(self.estimates.latency, margin, floor_s)

    # Whom to ask, and how long to wait.

    def asks_few(self) -> bool:
        """Whether the next request is put to the cheapest nodes at first, not to all."""
        if self.table.first is None:
            return False
        self._questions += 1
        return self._questions % self.table.everyone_every != 0

    def cheapest(self, up: Slots) -> Slots:
        """Of the slots of the nodes that are up, those to ask at first: all if there are no more.

        The cheapest need the fewest multiply-accumulates for an answer in time; among equal ones
        those go first that were asked first least often.
        """
        reliability = self.estimates.reliability
        share = np.where(reliability.samples[up] > 0, reliability.value[up].round(1), 1.0)
        cost = self._macs[up] / np.maximum(share, _LEAST_RELIABLE)
        order = np.lexsort((up, self._asked_first[up], cost))
        chosen = up[order[: self.table.first]]
        self._asked_first[chosen] += 1
        return chosen

    def patience_s(self, now: float, slots: Slots, ceiling_s: float) -> float | None:
        """Seconds that nodes usually need, with a margin; None while too few are known."""
        return self._deadline.patience_s(now, slots, ceiling_s)

    def patience_of_few_s(self, now: float, slots: Slots, ceiling_s: float) -> float | None:
        """The same for the nodes that are asked first."""
        return self._first_deadline.patience_s(now, slots, ceiling_s)

    def quorum(self, up: int, caught: int) -> int:
        """Votes of so many nodes that are up, without which nothing but the last deadline ends a
        request: half of them, and more than twice as many as the fleet file says may lie, without
        those that are `caught`: left out for lying."""
        liars = max(0, (self.table.liars or 0) - caught)
        return min(up, max((up + 1) // 2, 2 * liars + 1))

    def trust(self, slots: Slots) -> NDArray[np.float64]:
        """How far nodes are believed, 0 to 1: their agreement, 1 where unknown."""
        agreement = self.estimates.agreement
        return np.where(agreement.samples[slots] > 0, agreement.value[slots], 1.0)

    # What is learnt.

    def learn(self, ended: Ended) -> None:
        """Take what a request that ended tells."""
        slots, estimates = ended.slots, self.estimates
        estimates.latency.add(slots, ended.latency_ms)
        estimates.reliability.add(ended.asked, ended.answered)
        if ended.label is not None:
            estimates.accuracy.add(slots, ended.first == ended.label)
        counted = int(np.count_nonzero(ended.counted))
        if not ended.partial and counted >= min(_FEWEST_VOTES, len(self._macs)):
            agreed = consensus(ended.first[ended.counted], ended.answer)
            estimates.agreement.add(slots, ended.first == agreed)

    def late(self, slot: int, latency_ms: float, forgiven: bool) -> None:
        """A vote came after its request had ended; `forgiven`: that was held against its node,
        and it would not have been late, had anyone waited for it."""
        self.estimates.latency.add(np.array([slot]), np.array([latency_ms]))
        if forgiven:
            self.estimates.reliability.forgive(slot)

    # What follows.

    def verdicts(self, nodes: Mapping[int, Standing]) -> list[Verdict]:
        """Who is left out and who is taken back now, of these nodes by slot.

        Without `quarantine`, all whom the judge left out are taken back. With it, those that count
        stay a majority of the nodes that are alive and that the
        operator did not leave out; the worst are left out first.
        """
        if not self.table.quarantine:
            return list(_amnesty(nodes))
        verdicts = list(self._releases(nodes))
        back = {verdict.slot for verdict in verdicts}
        judged = {
            slot: node.quarantine is None or slot in back
            for slot, node in nodes.items()
            if node.alive and (node.quarantine is None or node.quarantine.origin != "operator")
        }
        counted = sum(judged.values())
        suspects = [slot for slot in judged if nodes[slot].quarantine is None]
        # Where most nodes are late, it is the network, or this machine.
        usual = self.estimates.reliability.median(np.array(suspects, np.intp), JUDGED_FROM)
        for slot in sorted(suspects, key=lambda slot: self._record(slot).agreement):
            found = offence(self._record(slot), usual, self._limits)
            if found is not None and may_leave_out(counted, len(judged)):
                counted -= 1
                origin, reason = found
                since = self._record(slot).count(origin)
                verdicts.append(Verdict(slot, Quarantine(origin, reason, since), reason))
        return verdicts

    def suspects(self) -> bool:
        """Whether any node's estimates are below a limit: if not, `verdicts` leaves nobody out."""
        if not self.table.quarantine:
            return False
        agreement, reliability = self.estimates.agreement, self.estimates.reliability
        return bool(
            agreement.below(self._limits.agreement, JUDGED_FROM).any()
            or reliability.below(self._limits.reliability, JUDGED_FROM).any()
        )

    def pardon(self, slot: int) -> None:
        """What is held against a node is forgotten."""
        self.estimates.agreement.forget(slot)
        self.estimates.reliability.forget(slot)

    def _releases(self, nodes: Mapping[int, Standing]) -> Iterable[Verdict]:
        for slot, node in nodes.items():
            if node.quarantine is None:
                continue
            record = self._record(slot)
            reason = improvement(node.quarantine, node.quarantines, record, self._limits)
            if reason is not None:
                yield Verdict(slot, None, reason)

    def watched_from(self, slot: int, quarantine: Quarantine) -> int:
        """What `Quarantine.since` of a node at a slot can be at most."""
        return min(quarantine.since, self._record(slot).count(quarantine.origin))

    def _record(self, slot: int) -> Record:
        agreement, reliability = self.estimates.agreement, self.estimates.reliability
        return Record(
            float(agreement.value[slot]),
            int(agreement.samples[slot]),
            float(reliability.value[slot]),
            int(reliability.samples[slot]),
        )


def _amnesty(nodes: Mapping[int, Standing]) -> Iterable[Verdict]:
    for slot, node in nodes.items():
        if node.quarantine is not None and node.quarantine.origin != "operator":
            yield Verdict(slot, None, "taken back: the gateway leaves nobody out any more")


def consensus(first: NDArray[np.integer], answer: int | None) -> int:
    """The class that more than half of the votes put first, or else the answer; -1 for none.

    `first` (V,) are the first classes of the votes that count.
    """
    if len(first):
        counts = np.bincount(first)
        most = int(np.argmax(counts))
        if 2 * counts[most] > len(first):
            return most
    return -1 if answer is None else answer


def unanimous(first: NDArray[np.integer], asked: Collection[int]) -> bool:
    """Whether all nodes that were asked voted, and for one class."""
    return len(first) == len(asked) > 0 and bool((first == first[0]).all())
