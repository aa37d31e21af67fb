"""What the judge learns of nodes, and what it decides: arrays in, verdicts out."""

from __future__ import annotations

import numpy as np
import pytest

from fleet_factory import make_fleet
from variant_parallelism.gateway.judging.deadlines import AutoDeadline, patience_s
from variant_parallelism.gateway.judging.estimates import Average, Estimates, Latencies
from variant_parallelism.gateway.judging.judge import (
    Ended,
    Judge,
    Standing,
    consensus,
    unanimous,
)
from variant_parallelism.gateway.judging.quarantine import Quarantine, may_leave_out


def make_judge(nodes: int = 5, **judging: object) -> Judge:
    return Judge(make_fleet(serial=0, udp=nodes, judging=judging))


def ended(first: list[int | None], *, answer: int | None = None, **fields: object) -> Ended:
    """All nodes were asked; `first` is each one's first class, None where it did not vote."""
    voted = [slot for slot, vote in enumerate(first) if vote is not None]
    values: dict[str, object] = {
        "slots": np.array(voted, int),
        "first": np.array([first[slot] for slot in voted], int),
        "latency_ms": np.full(len(voted), 10.0),
        "counted": np.ones(len(voted), bool),
        "asked": np.arange(len(first)),
        "answered": np.array([vote is not None for vote in first]),
        "answer": answer,
        "label": None,
    }
    return Ended(**(values | fields))  # type: ignore[arg-type]


class Trial:
    """A fleet under a judge: what every node does to each request, and what becomes of it."""

    def __init__(self, nodes: int = 5, **judging: object) -> None:
        self.judge = make_judge(nodes, quarantine=True, **judging)
        self.nodes = {slot: Standing(True, None, 0) for slot in range(nodes)}
        self.changes: list[tuple[int, bool, str]] = []

    def put(self, first: list[int | None]) -> None:
        counted = [self.nodes[slot].quarantine is None for slot, vote in enumerate(first) if vote]
        self.judge.learn(ended(first, answer=1, counted=np.array(counted, bool)))
        for verdict in self.judge.verdicts(self.nodes):
            times = self.nodes[verdict.slot].quarantines + (verdict.quarantine is not None)
            self.nodes[verdict.slot] = Standing(True, verdict.quarantine, times)
            self.changes.append((verdict.slot, verdict.quarantine is not None, verdict.reason))

    def left_out(self) -> set[int]:
        return {slot for slot, node in self.nodes.items() if node.quarantine is not None}


def test_an_average_forgets_after_its_window() -> None:
    average = Average(2, 20)
    row = np.array([1])
    for _ in range(10):
        average.add(row, np.array([True]))
    assert average.known(np.arange(2))[1] == 1.0
    assert average.known(np.arange(2))[0] is None
    for _ in range(10):
        average.add(row, np.array([False]))
    assert average.known(np.arange(2))[1] == pytest.approx(0.5), (
        "everything, while that is less than a window"
    )
    for _ in range(100):
        average.add(row, np.array([False]))
    assert average.value[1] < 0.01


def test_latencies_are_the_last_ones_and_their_quantiles_numpys() -> None:
    latencies = Latencies(3, 50)
    drawn = np.random.default_rng(1).exponential(20, 170)
    for value in drawn:
        latencies.add(np.array([2]), np.array([value]))
    latencies.add(np.array([0]), np.array([7.0]))
    p50, p95 = latencies.quantiles(np.arange(3), 0.5, 0.95)
    assert p50[2] == pytest.approx(np.quantile(drawn[-50:], 0.5), rel=1e-5)
    assert p95[2] == pytest.approx(np.quantile(drawn[-50:], 0.95), rel=1e-5)
    assert p50[0] == p95[0] == 7.0
    assert np.isnan(p50[1])


def test_what_is_unknown_is_none() -> None:
    estimates = Estimates(2, 16)
    estimates.latency.add(np.array([0]), np.array([5.0]))
    known, unknown = estimates.of(np.arange(2))
    assert (known.latency_p50_ms, known.samples, known.agreement) == (5.0, 1, None)
    assert unknown.reliability is None and unknown.latency_p95_ms is None
    estimates.grow(4)
    assert estimates.of(np.array([0]))[0] == known
    assert estimates.of(np.array([3]))[0] == unknown


def test_agreement_is_with_most_of_the_votes_that_count() -> None:
    assert consensus(np.array([4, 4, 7]), 7) == 4
    assert consensus(np.array([4, 7]), 7) == 7, "no majority: the answer"
    assert consensus(np.array([], int), None) == -1
    judge = make_judge(4)
    counted = np.array([True, True, True, False])
    judge.learn(ended([4, 4, 7, 4], answer=7, counted=counted))
    estimates = judge.estimates.of(np.arange(4))
    assert [estimate.agreement for estimate in estimates] == [1.0, 1.0, 0.0, 1.0]


def test_two_votes_and_spared_nodes_tell_nothing_about_agreement() -> None:
    judge = make_judge(5)
    judge.learn(ended([1, 2, None, None, None], answer=1))
    judge.learn(ended([1, 1, 1], answer=1, partial=True))
    assert all(estimate.agreement is None for estimate in judge.estimates.of(np.arange(5)))


def test_reliability_counts_what_was_asked_and_accuracy_what_was_labelled() -> None:
    judge = make_judge(3)
    judge.learn(ended([1, 1, None], answer=1, label=2))
    judge.learn(ended([2, 1, 2], answer=2, label=2))
    judge.learn(ended([3, 3, 3], answer=3))
    estimates = judge.estimates.of(np.arange(3))
    assert [estimate.accuracy for estimate in estimates] == [0.5, 0.0, 1.0]
    assert [estimate.reliability for estimate in estimates] == pytest.approx([1, 1, 2 / 3])
    judge.late(2, 40.0, forgiven=True)
    assert judge.estimates.reliability.known(np.array([2]))[0] == pytest.approx(1.0)
    assert judge.estimates.latency.quantiles(np.array([2]), 1.0)[0][0] == 40.0


def test_a_liar_is_left_out_and_taken_back_when_it_behaves() -> None:
    trial = Trial(window=32)
    for _ in range(40):
        trial.put([1, 1, 1, 1, 9])
    assert trial.left_out() == {4}
    assert trial.changes == [
        (4, True, "agreed with the others in 0% of its recent votes, and 50% are wanted")
    ]
    for _ in range(20):
        trial.put([1, 1, 1, 1, 1])
    assert trial.left_out() == {4}, "being just above the limit is not enough"
    assert trial.judge.estimates.agreement.value[4] > 0.4
    for _ in range(30):
        trial.put([1, 1, 1, 1, 1])
    assert trial.left_out() == set()
    assert len(trial.changes) == 2
    assert trial.changes[1][2].startswith("taken back: agreed with the others in ")


def test_a_node_that_stalls_is_left_out_for_that() -> None:
    trial = Trial(window=32)
    for index in range(40):
        trial.put([1, 1, 1, 1, 1 if index % 4 == 0 else None])
    assert trial.left_out() == {4}
    assert "answered 25% of its recent requests in time" in trial.changes[0][2]


def test_when_most_nodes_are_late_none_is_left_out_for_it() -> None:
    trial = Trial(window=32)
    for index in range(60):
        late = None if index % 4 else 1
        trial.put([late, late, late, 1, 1])
    assert trial.changes == []


def test_a_weak_but_honest_node_stays_and_nothing_flutters() -> None:
    trial = Trial()
    random = np.random.default_rng(5)
    for _ in range(3000):
        weak = 1 if random.random() < 0.7 else int(random.integers(2, 10))
        trial.put([1, 1, 1, 1, weak])
    assert trial.changes == []


def test_a_node_on_the_border_changes_ever_more_rarely() -> None:
    trial = Trial(window=16)
    random = np.random.default_rng(6)
    for _ in range(4000):
        trial.put([1, 1, 1, 1, 1 if random.random() < 0.55 else 2])
    assert 1 <= len(trial.changes) <= 30
    assert trial.nodes[4].quarantines >= 1


def test_those_that_count_stay_a_majority() -> None:
    trial = Trial(nodes=5)
    for _ in range(200):
        trial.put([1, 2, 3, 4, 5])
    assert len(trial.left_out()) == 2
    assert may_leave_out(3, 3) and may_leave_out(4, 5)
    assert not may_leave_out(2, 2) and not may_leave_out(3, 5) and not may_leave_out(3, 4)


def test_what_the_operator_left_out_stays_out_and_is_not_judged() -> None:
    trial = Trial(nodes=5, window=16)
    trial.nodes[0] = Standing(True, Quarantine("operator", "smells"), 0)
    for _ in range(200):
        trial.put([1, 1, 1, 8, 9])
    assert trial.left_out() == {0, 4} or trial.left_out() == {0, 3}, "2 of 4 would be no majority"


def test_without_quarantine_nobody_is_left_out_and_all_but_the_operators_are_taken_back() -> None:
    judge = make_judge(5)
    for _ in range(40):
        judge.learn(ended([1, 1, 1, 8, 9], answer=1))
    nodes = {slot: Standing(True, None, 0) for slot in range(5)}
    nodes[0] = Standing(True, Quarantine("operator", "smells"), 0)
    nodes[4] = Standing(True, Quarantine("agreement", "lied"), 1)
    assert [(verdict.slot, verdict.quarantine) for verdict in judge.verdicts(nodes)] == [(4, None)]


def test_suspects_are_looked_for_only_where_quarantine_is_on() -> None:
    for on in (True, False):
        judge = make_judge(3, quarantine=on) if on else make_judge(3)
        for _ in range(20):
            judge.learn(ended([1, 1, 2], answer=1))
        assert judge.suspects() is on
    judge = make_judge(3, quarantine=True)
    for _ in range(20):
        judge.learn(ended([1, 1, 2], answer=1))
    judge.pardon(2)
    assert not judge.suspects()


def test_the_wait_follows_the_slowest_node_but_no_straggler() -> None:
    usual = np.array([10.0, 20.0, 40.0])
    assert patience_s(usual, 1.5, 0.01) == pytest.approx(0.06)
    straggling = np.array([10.0, 20.0, 900.0])
    assert patience_s(straggling, 1.5, 0.01) == pytest.approx(1.5 * 4 * 0.02)
    assert patience_s(usual, 1.5, 0.1) == 0.1, "the floor"


def test_the_wait_is_unknown_while_half_of_the_nodes_are() -> None:
    latencies = Latencies(4, 64)
    deadline = AutoDeadline(latencies, 2.0, 0.001)
    slots = np.arange(4)
    assert deadline.patience_s(0.0, slots, 1.0) is None
    for _ in range(16):
        latencies.add(np.array([0, 1]), np.array([10.0, 12.0]))
    assert deadline.patience_s(1.0, slots, 1.0) == pytest.approx(0.024)
    for _ in range(100):
        latencies.add(slots, np.full(4, 100.0))
    assert deadline.patience_s(1.1, slots, 1.0) == pytest.approx(0.024), "looked at now and then"
    assert deadline.patience_s(2.0, slots, 1.0) == pytest.approx(0.2)
    assert deadline.patience_s(2.0, slots, 0.15) == 0.15, "the ceiling"


def test_the_cheapest_nodes_are_asked_first_and_equal_ones_in_turn() -> None:
    judge = make_judge(4, first=2)
    judge.reload(judge.table, dict(enumerate([500, 100, 100, 100])))
    up = np.arange(4)
    asked = [tuple(sorted(judge.cheapest(up).tolist())) for _ in range(6)]
    assert asked == [(1, 2), (1, 3), (2, 3)] * 2
    assert judge.cheapest(np.array([0])).tolist() == [0]


def test_a_node_that_seldom_answers_is_dear() -> None:
    judge = make_judge(3, first=1)
    judge.reload(judge.table, dict(enumerate([300, 100, 200])))
    assert judge.cheapest(np.arange(3)).tolist() == [1]
    for index in range(10):
        judge.learn(ended([1, 1 if index < 4 else None, 1], answer=1))
    assert judge.cheapest(np.arange(3)).tolist() == [2]


def test_what_is_known_of_nodes_stays_when_others_come() -> None:
    judge = make_judge(3, first=1)
    for _ in range(5):
        judge.learn(ended([1, 1, 2], answer=1))
    known = judge.estimates.of(np.arange(3))
    judge.reload(judge.table, {0: 10, 2: 5, 3: 1})
    assert judge.estimates.of(np.arange(3)) == known
    assert judge.estimates.of(np.array([3]))[0].samples == 0
    assert judge.cheapest(np.array([0, 2, 3])).tolist() == [3]


def test_everyone_is_asked_now_and_then() -> None:
    judge = make_judge(4, first=2, everyone_every=5)
    assert [judge.asks_few() for _ in range(10)] == [True, True, True, True, False] * 2
    assert not make_judge(4).asks_few()


def test_a_quorum_outnumbers_the_liars() -> None:
    assert make_judge(5).quorum(5, 0) == 3
    judge = make_judge(7, combine="median", liars=2)
    assert judge.quorum(7, 0) == 5
    assert judge.quorum(4, 0) == 4
    assert judge.quorum(6, 1) == 3, "one of the two is left out already"
    assert make_judge(7, combine="median", liars=1).quorum(7, 0) == 4
    assert make_judge(7, combine="median").quorum(7, 0) == 4, "as many as the votes permit"


def test_unanimous_means_that_all_asked_voted_for_one_class() -> None:
    assert unanimous(np.array([3, 3]), [0, 1])
    assert not unanimous(np.array([3, 4]), [0, 1])
    assert not unanimous(np.array([3]), [0, 1])
    assert not unanimous(np.array([], int), [])
