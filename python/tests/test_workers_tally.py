"""What a worker makes of reports, and what a gateway keeps of them, in virtual time."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from fleet_factory import make_fleet
from variant_parallelism.judging_table import JudgingTable
from variant_parallelism.workers import keeping, tally
from variant_parallelism.workers.keeping import Keeper, SpreadCounters
from variant_parallelism.workers.messages import (
    AnswerMessage,
    GatewayMessage,
    ReportMessage,
    RequestMessage,
    VoteMessage,
    decode,
    fleet_digest,
)
from variant_parallelism.workers.partitions import ALL, owners, partition_of
from variant_parallelism.workers.sharing import Sharing
from variant_parallelism.workers.tally import Tally
from variant_parallelism.workers_table import WorkersTable

FLEET = make_fleet()
TABLE = WorkersTable(host="broker", grace_ms=100, validity_s=60, keep=3, heartbeat_s=1.0)
UID = "request-0001"


def here(
    gateway: str,
    *nodes: int,
    state: Literal["here", "left", "lost"] = "here",
    fleet: str = "",
) -> GatewayMessage:
    return GatewayMessage(
        gateway=gateway,
        state=state,
        fleet=fleet or fleet_digest(FLEET),
        nodes=tuple((node, f"v{node}") for node in nodes),
    )


def vote(node: int, best: int = 3, **change: Any) -> VoteMessage:
    fields: dict[str, Any] = {
        "node": node,
        "variant": f"v{node}",
        "entries": ((best, 90), (7 if best != 7 else 8, -100)),
        "latency_ms": 5.0,
        "inference_ms": 4.0,
        "wire_bytes": 25,
    }
    return VoteMessage(**(fields | change))


def report(gateway: str, *votes: VoteMessage, **change: Any) -> ReportMessage:
    fields: dict[str, Any] = {
        "uid": UID,
        "gateway": gateway,
        "attempt": 1,
        "age_ms": 20.0,
        "deadline_ms": 1000.0,
        "k": 2,
        "label": None,
        "triggered": False,
        "votes": votes,
        "errors": (),
        "spared": (),
        "gateways": (gateway,),
    }
    return ReportMessage(**(fields | change))


def tally_of(*gateways: GatewayMessage) -> Tally:
    tally = Tally(FLEET, TABLE, "worker-1")
    for message in gateways:
        tally.gateway(0.0, message)
    return tally


def answer_of(tally: Tally) -> AnswerMessage:
    (payload,) = tally.outbox
    tally.outbox.clear()
    answer = decode(AnswerMessage, payload)
    assert answer is not None
    return answer


def test_the_answer_comes_with_the_last_report() -> None:
    tally = tally_of(here("a", 0, 1), here("b", 2))
    tally.report(1.0, report("a", vote(0), vote(1)))
    assert not tally.outbox
    tally.report(1.1, report("b", vote(2)))
    answer = answer_of(tally)
    assert (answer.class_index, answer.name, answer.gateways, answer.absent) == (
        3,
        "c3",
        ("a", "b"),
        (),
    )
    assert answer.latency_ms == pytest.approx(120)
    assert (tally.open, tally.wake_at()) == (0, float("inf"))


def test_at_the_deadline_the_others_answer() -> None:
    """100 ms after it, for reports that are on their way."""
    tally = tally_of(here("a", 0, 1), here("b", 2))
    tally.report(1.0, report("a", vote(0), errors=((1, "runtime failed"),)))
    assert tally.wake_at() == pytest.approx(1.0 + 0.980 + 0.100)
    tally.tick(2.07)
    assert not tally.outbox
    tally.tick(2.09)
    answer = answer_of(tally)
    assert (answer.gateways, answer.absent, answer.missing) == (("a",), ("b",), (1, 2))
    assert answer.errors == ((1, "runtime failed"),)


def test_a_gateway_that_the_broker_lost_is_not_waited_for() -> None:
    tally = tally_of(here("a", 0, 1), here("b", 2))
    tally.report(1.0, report("a", vote(0), vote(1)))
    tally.gateway(1.2, here("b", state="lost"))
    answer = answer_of(tally)
    assert (answer.gateways, answer.absent, answer.missing) == (("a",), (), (2,))


def test_a_gateway_that_left_takes_its_nodes_along() -> None:
    tally = tally_of(here("a", 0, 1), here("b", 2))
    tally.gateway(1.0, here("b", state="left"))
    tally.report(1.0, report("a", vote(0), vote(1)))
    assert answer_of(tally).missing == ()


def test_silence_is_absence() -> None:
    tally = tally_of(here("a", 0, 1), here("b", 2))
    tally.gateway(2.5, here("a", 0, 1))
    tally.report(2.9, report("a", vote(0), vote(1), deadline_ms=60_000.0))
    tally.tick(3.0)
    assert answer_of(tally).gateways == ("a",)


def test_a_worker_waits_for_gateways_that_others_hear() -> None:
    """Silent to this worker they may be, but the broker has not lost them."""
    tally = tally_of(here("a", 0, 1), here("b", 2))
    tally.tick(3.0)
    assert tally.gateways == []
    tally.report(3.1, report("a", vote(0), gateways=("a", "b")))
    assert not tally.outbox
    tally.report(3.2, report("b", vote(2)))
    assert answer_of(tally).gateways == ("a", "b")


def test_a_worker_knows_better_who_is_lost() -> None:
    tally = tally_of(here("a", 0, 1), here("b", 2))
    tally.gateway(0.9, here("b", state="lost"))
    tally.report(1.0, report("a", vote(0), gateways=("a", "b")))
    assert answer_of(tally).gateways == ("a",)


def test_after_the_deadline_there_is_time_to_come_back() -> None:
    """A worker that takes over after the deadline gives all gateways three heartbeats."""
    tally = tally_of(here("a", 0, 1), here("b", 2))
    tally.report(1.0, report("a", vote(0), age_ms=5000.0))
    assert tally.wake_at() == pytest.approx(4.0)


def test_nobody_else_was_asked() -> None:
    tally = tally_of(here("a", 0, 1), here("b", 2))
    tally.report(1.0, report("a", vote(0), vote(1), shared=False))
    answer = answer_of(tally)
    assert (answer.gateways, answer.missing) == (("a",), (2,))


def test_no_votes_are_an_answer_too() -> None:
    tally = tally_of(here("a", 0))
    tally.report(1.0, report("a"))
    answer = answer_of(tally)
    assert (answer.class_index, answer.score, set(answer.scores)) == (None, None, {0.0})


def test_a_repeated_report_repeats_nothing_before_time() -> None:
    """A gateway that asks again missed the answer, unless it is still on its way."""
    tally = tally_of(here("a", 0), here("b", 2))
    tally.report(1.0, report("a", vote(0)))
    tally.report(1.0, report("a", vote(0), attempt=2))
    tally.report(1.0, report("b", vote(2)))
    first = answer_of(tally)
    tally.report(1.5, report("a", vote(0), attempt=2))
    assert not tally.outbox
    tally.report(2.5, report("a", vote(0), attempt=3))
    assert answer_of(tally) == first
    assert (tally.counters.answers, tally.counters.repeated) == (1, 1)


def test_what_another_worker_answered_is_answered() -> None:
    tally = tally_of(here("a", 0), here("b", 2))
    other = tally_of(here("a", 0))
    other.report(1.0, report("a", vote(0)))
    tally.report(1.0, report("a", vote(0)))
    tally.answered(1.1, UID, answer_of(other).encode())
    tally.tick(10.0)
    assert (tally.open, list(tally.outbox)) == (0, [])


def test_quarantined_votes_count_only_where_there_are_no_others() -> None:
    tally = tally_of(here("a", 0), here("b", 2))
    tally.report(1.0, report("a", vote(0, 3, counted=False)))
    tally.report(1.0, report("b", vote(2, 5)))
    answer = answer_of(tally)
    assert answer.class_index == 5
    assert [one.counted for one in answer.votes] == [False, True]
    alone = tally_of(here("a", 0))
    alone.report(1.0, report("a", vote(0, 3, counted=False)))
    answer = answer_of(alone)
    assert (answer.class_index, answer.votes[0].counted) == (3, True)


def test_a_node_votes_once() -> None:
    tally = tally_of(here("a", 0, 1), here("b", 1, 2))
    tally.report(1.0, report("a", vote(0), vote(1, 3)))
    tally.report(1.0, report("b", vote(1, 5), vote(2)))
    answer = answer_of(tally)
    assert [(one.node, one.entries[0][0]) for one in answer.votes] == [(0, 3), (1, 3), (2, 3)]
    assert tally.counters.claimed_twice == 1
    assert "same id" in tally.warnings[0]


@pytest.mark.parametrize(
    ("bad", "counter"),
    [
        (report("x", vote(0)), "foreign"),
        (report("a", vote(2)), "foreign"),
        (report("a", vote(0, variant="v1")), "foreign"),
        (report("a", vote(0, entries=((10, 90), (3, 0)))), "malformed"),
        (report("a", vote(0), label=10), "malformed"),
        (report("a", vote(0, entries=((1, 90),)), k=1), "malformed"),
    ],
)
def test_reports_that_cannot_be_are_dropped(bad: ReportMessage, counter: str) -> None:
    """Unknown gateways, nodes and classes, and reports that contradict the others."""
    tally = tally_of(here("a", 0, 1), here("b", 2))
    tally.report(1.0, report("b", vote(2)))
    tally.report(1.1, bad)
    assert getattr(tally.counters, counter) == 1
    tally.report(1.2, report("a", vote(0)))
    assert [one.node for one in answer_of(tally).votes] == [0, 2]


def test_few_nodes_withstand_fewer_liars() -> None:
    """What the fleet file asks for holds as soon as there are nodes enough."""
    fleet = make_fleet(judging=JudgingTable(combine="median", liars=1))
    tally = Tally(fleet, TABLE, "worker-1")
    tally.gateway(0.0, here("a", 0, fleet=fleet_digest(fleet)))
    tally.report(1.0, report("a", vote(0, 5)))
    assert answer_of(tally).class_index == 5
    tally.gateway(2.0, here("b", 1, 2, fleet=fleet_digest(fleet)))
    tally.report(2.0, report("a", vote(0, 5), uid="request-0002"))
    tally.report(2.0, report("b", vote(1, 3), vote(2, 3), uid="request-0002"))
    assert answer_of(tally).class_index == 3


def test_a_variant_that_the_manifest_lacks_has_no_vote() -> None:
    tally = tally_of(here("a", 0, 9))
    tally.report(1.0, report("a", vote(0), vote(9)))
    assert (tally.counters.foreign, tally.open) == (1, 0)


def test_gateways_of_another_fleet_do_not_count() -> None:
    tally = tally_of(here("a", 0), here("b", 2, fleet="0" * 32))
    tally.report(1.0, report("b", vote(2)))
    tally.report(1.0, report("a", vote(0)))
    assert answer_of(tally).gateways == ("a",)
    assert tally.counters.foreign == 2
    assert "gateway b serves another fleet" in tally.warnings[0]


def test_the_votes_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "_MOST_VOTES", 4)
    worker = tally_of(here("a", 0, 1), here("b", 2))
    for number in range(3):
        uid = f"request-{number}"
        for _ in range(2):
            worker.report(0.0, report("a", vote(0), vote(1), uid=uid, gateways=("a", "b")))
    assert (worker.open, worker.counters.displaced) == (2, 1)
    worker.tick(60.0)
    assert [answer.uid for answer in worker.concluded] == ["request-1", "request-2"]
    assert (worker.open, worker._votes) == (0, 0)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff\x00",
        b"[]",
        report("a", vote(0)).encode().replace(b'"version":1', b'"version":2'),
        report("a", vote(0)).encode().replace(b'"k":2', b'"k":3'),
        report("a", vote(0)).encode().replace(b'"k":2', b'"k":"2"'),
        report("a", vote(0)).encode().replace(b'"age_ms":20.0', b'"age_ms":1e999'),
        report("a", vote(0)).encode().replace(UID.encode(), b"../../etc"),
        report("a", vote(0)).encode().replace(b"-100", b"-129"),
        report("a", vote(0)).encode().replace(b"[7,", b"[3,"),
    ],
)
def test_garbage_is_no_report(payload: bytes) -> None:
    assert decode(ReportMessage, report("a", vote(0)).encode()) == report("a", vote(0))
    assert decode(ReportMessage, payload) is None


def test_an_image_has_the_size_of_its_shape() -> None:
    good = RequestMessage(uid=UID, k=2, shape=(2, 3, 1), image=bytes(range(250, 256)))
    assert decode(RequestMessage, good.encode()) == good
    assert decode(RequestMessage, good.encode().replace(b"[2,3,1]", b"[2,3,3]")) is None
    assert decode(RequestMessage, good.encode().replace(b"[2,3,1]", b"null")) is None


def kept_by(counters: SpreadCounters) -> Keeper:
    return Keeper(TABLE, counters)


def test_a_report_is_kept_until_its_answer() -> None:
    counters = SpreadCounters()
    keeper = kept_by(counters)
    first = keeper.keep(10.0, report("a", vote(0)), began=9.9)
    assert first is not None and first.age_ms == pytest.approx(100)
    assert list(keeper.due(10.5, ALL)) == []
    (again,) = keeper.due(13.0, ALL)
    assert again.attempt == 2
    assert again.age_ms == pytest.approx(3100)
    assert list(keeper.due(30.0, ALL ^ 1 << partition_of(UID))) == []
    (moved,) = keeper.taken_on(30.0, 1 << partition_of(UID))
    assert moved.attempt == 3
    assert keeper.answered(UID) and not keeper.answered(UID)
    assert (len(keeper), list(keeper.due(50.0, ALL)), counters.duplicate) == (0, [], 1)
    late = keeper.asked_again(50.0, UID)
    assert late is not None and late.attempt == 4


def test_what_is_kept_is_bounded_and_expires() -> None:
    counters = SpreadCounters()
    keeper = kept_by(counters)
    for number in range(5):
        keeper.keep(0.0, report("a", vote(0), uid=f"request-{number}"), began=0.0)
    assert (len(keeper), counters.displaced) == (3, 2)
    assert list(keeper.due(60.0, ALL)) == []
    assert (len(keeper), counters.expired) == (0, 3)


def test_reports_that_are_kept_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    large = report("a", *(vote(node) for node in range(2)), uid="request-0")
    monkeypatch.setattr(keeping, "_KEPT_BYTES", 2 * len(large.encode()) + 10)
    counters = SpreadCounters()
    keeper = kept_by(counters)
    for number in range(3):
        again = large.model_copy(update={"uid": f"request-{number}"})
        assert keeper.keep(0.0, again, began=0.0) is not None
        assert keeper.keep(0.0, again, began=0.0) is not None
    assert (len(keeper), counters.displaced) == (2, 1)
    assert [kept.uid for kept in keeper.taken_on(1.0, ALL)] == ["request-1", "request-2"]
    assert keeper.answered("request-1") and keeper.answered("request-2")
    assert keeper._bytes == 0


def test_partitions_are_shared_by_all_who_are_there() -> None:
    names = [f"worker-{number}" for number in range(5)]
    shares = owners(names)
    assert sum(share.bit_count() for share in shares.values()) == 256
    assert min(share.bit_count() for share in shares.values()) > 256 / 5 / 2
    without = owners(names[1:])
    for name in names[1:]:
        assert shares[name] & ~without[name] == 0
    assert owners(["one"]) == {"one": ALL}


def test_a_partition_is_given_up_once_its_new_owner_hears_it() -> None:
    sharing = Sharing("old", 3.0)
    assert sharing.move().take == ALL
    sharing.taken(ALL)
    theirs = owners(["old", "new"])["new"]
    sharing.hear(0.0, "new", 0)
    assert (sharing.move().give, sharing.serving) == (0, ALL)
    sharing.hear(0.1, "new", theirs)
    assert (sharing.move().give, sharing.serving) == (theirs, ALL & ~theirs)
    sharing.hear(2.0, "new", theirs)
    sharing.drop_silent(4.0)
    assert sharing.move().take == 0
    sharing.drop_silent(5.0)
    assert sharing.move().take == theirs
