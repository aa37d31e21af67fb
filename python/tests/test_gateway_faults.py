"""The gateway's core on links that lose, repeat, overtake and damage messages; in virtual time."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_factory import FLEET_ID, KEY, make_fleet, make_image
from simulated_fleet import Faults, World, entries_of
from variant_parallelism import wire
from variant_parallelism.gateway.dispatch import WINDOW
from variant_parallelism.keys import group_key

FAULTS = {
    "loss": Faults(loss=0.2),
    "much loss": Faults(loss=0.5),
    "duplication": Faults(duplication=0.5),
    "reordering": Faults(reorder=0.5, extra_s=0.05),
    "corruption": Faults(corruption=0.2),
    "everything": Faults(loss=0.15, duplication=0.15, corruption=0.1, reorder=0.3),
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("key", [KEY, None], ids=["keyed", "plain"])
def test_answers_are_right_whatever_the_link_does(faults: Faults, key: bytes | None) -> None:
    fleet = make_fleet(serial=1, udp=2, key=key, hello_ms=5000)
    world = World(fleet, seed=1)
    world.run(1)
    world.faults = faults
    world.run(1)
    for seed in range(10):
        image = make_image(fleet, seed)
        answer = world.classify(image, deadline_s=60)
        assert len(answer.votes) == 3
        for vote in answer.votes:
            assert vote.entries == entries_of(vote.node, image.tobytes(), 2, 10)
    counters = world.core.counters
    assert (counters.answers, counters.lost) == (10, 0)
    if faults.loss:
        assert counters.retransmitted > 0
    if faults.duplication:
        assert counters.replayed > 0
    if faults.corruption:
        assert counters.damaged > 0 if key is None else counters.forged > 0


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32),
    st.floats(0, 0.4),
    st.floats(0, 0.4),
    st.floats(0, 0.2),
    st.floats(0, 0.5),
    st.floats(0.0001, 0.2),
)
def test_no_schedule_of_faults_makes_a_wrong_answer(
    seed: int, loss: float, duplication: float, corruption: float, reorder: float, delay: float
) -> None:
    fleet = make_fleet(serial=1, udp=1)
    world = World(fleet, seed=seed)
    world.delay_s = delay
    world.faults = Faults(loss, duplication, corruption, reorder, 2 * delay)
    for number in range(3):
        image = make_image(fleet, number)
        answer = world.classify(image, deadline_s=10)
        for vote in answer.votes:
            assert vote.entries == entries_of(vote.node, image.tobytes(), 2, 10)
        assert set(answer.missing) | {vote.node for vote in answer.votes} == {0, 1}
        assert answer.latency_ms <= 10_000 + 1e-6


def chunk_of(world: World, node: int, data: bytes) -> int | None:
    """The chunk number in what was sent to a node; None if it carries no data."""
    message = wire.Deframer().push(data)[0].message if node in world.bytes_per_s else data
    body = wire.decode(message, group_key(KEY, FLEET_ID))[1]
    return body.chunk if isinstance(body, wire.Input) and body.data else None


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS.keys())
def test_at_most_six_chunks_are_on_their_way_to_a_node(faults: Faults) -> None:
    fleet = make_fleet(serial=1, udp=2, deadline_ms=60_000)
    world = World(fleet, seed=2)
    world.settle()
    world.faults = faults
    for seed in range(5):
        world.submit(make_image(fleet, seed))
    most, seen = 0, len(world.sent)
    while len(world.answers()) < 5:
        assert world.step(world.now + 100)
        for _, node, data in world.sent[seen:]:
            transfer = world.core.nodes[node].transfer
            chunk = chunk_of(world, node, data)
            assert chunk is None or (transfer is not None and chunk in transfer.flying)
            most = max(most, len(transfer.flying) if transfer else 0)
        seen = len(world.sent)
    assert most == WINDOW == 6


def test_a_chunk_is_encoded_once_for_all_nodes() -> None:
    fleet = make_fleet(serial=2, udp=3)
    world = World(fleet)
    world.settle()
    start = len(world.sent)
    world.classify(make_image(fleet), deadline_s=5)
    messages: dict[bytes, set[int]] = {}
    for _, node, data in world.sent[start:]:
        serial = node in world.bytes_per_s
        message = wire.Deframer().push(data)[0].message if serial else data
        messages.setdefault(message, set()).add(node)
    chunks = world.core.counters.chunks
    assert chunks == 5 * 8
    assert [nodes for nodes in messages.values()] == [{0, 1, 2, 3, 4}] * 8


def test_counters_only_rise_at_a_node_whatever_is_sent_again() -> None:
    fleet = make_fleet(serial=1, udp=2, deadline_ms=60_000, hello_ms=5000)
    world = World(fleet, seed=4)
    world.settle()
    world.faults = Faults(loss=0.3)
    for seed in range(10):
        world.submit(make_image(fleet, seed))
    while len(world.answers()) < 10:
        assert world.step(world.now + 100)
    assert [len(answer.votes) for answer in world.answers()] == [3] * 10
    assert world.core.counters.retransmitted > 50
    highest = dict.fromkeys(world.nodes, -1)
    for _, node, data in world.sent:
        message = wire.Deframer().push(data)[0].message if node in world.bytes_per_s else data
        counter = wire.peek(message).counter
        assert counter > highest[node]
        highest[node] = counter
    assert [node.dropped for node in world.nodes.values()] == [0, 0, 0]


def test_a_lost_chunk_alone_is_sent_again() -> None:
    fleet = make_fleet(serial=0, udp=1)
    world = World(fleet)
    world.settle()
    target = world.nodes[0]
    receive, numbers = target.receive, itertools.count()
    target.receive = lambda message: None if next(numbers) == 2 else receive(message)  # type: ignore[method-assign]
    answer = world.classify(make_image(fleet), deadline_s=5)
    assert len(answer.votes) == 1
    assert (world.core.counters.chunks, world.core.counters.retransmitted) == (9, 1)
    assert answer.latency_ms == pytest.approx(24)


def test_a_lost_answer_is_asked_for_again() -> None:
    fleet = make_fleet(serial=0, udp=1)
    world = World(fleet)
    world.settle()
    lost = []

    def lose_the_first_answer(node: int, message: bytes) -> bytes | None:
        if wire.peek(message).type is wire.MessageType.PREDICTION and not lost:
            lost.append(message)
            return None
        return message

    world.tap = lose_the_first_answer
    answer = world.classify(make_image(fleet), deadline_s=5)
    assert len(lost) == 1
    assert len(answer.votes) == 1
    assert world.core.counters.retransmitted == 0
    assert answer.latency_ms < 1000


def test_time_outs_follow_the_line() -> None:
    """A line four times slower than its baud rate says costs no chunk twice once it is known."""
    fleet = make_fleet(serial=1, udp=0, deadline_ms=60_000)
    world = World(fleet)
    world.bytes_per_s[0] = 2_800.0
    world.settle()
    for seed in range(5):
        assert len(world.classify(make_image(fleet, seed)).votes) == 1
    before = world.core.counters.retransmitted
    for seed in range(3):
        assert len(world.classify(make_image(fleet, seed)).votes) == 1
    assert world.core.counters.retransmitted == before


def test_noise_on_a_serial_line_is_counted_and_skipped() -> None:
    fleet = make_fleet(serial=1, udp=0)
    world = World(fleet)
    world.settle()
    world.core.stream(world.now, 0, b"login: \r\n\0\x05\0" + bytes(range(1, 256)) * 5)
    answer = world.classify(make_image(fleet), deadline_s=5)
    assert len(answer.votes) == 1
    assert world.core.counters.damaged >= 2


@settings(deadline=None)
@given(st.lists(st.binary(max_size=700), max_size=20), st.booleans())
def test_no_bytes_crash_the_core(junk: list[bytes], keyed: bool) -> None:
    fleet = make_fleet(serial=1, udp=1, key=KEY if keyed else None)
    world = World(fleet)
    world.settle()
    for data in junk:
        world.core.stream(world.now, 0, data)
        world.core.datagram(world.now, 1, data)
        world.core.datagram(world.now, None, data)
    world.core.stream(world.now, 0, b"\0")
    assert len(world.classify(make_image(fleet), deadline_s=5).votes) == 2
    counters = world.core.counters
    assert counters.messages_in > 2 * len(junk)


def test_an_answer_of_two_entries_takes_27_bytes_on_a_serial_line() -> None:
    fleet = make_fleet(serial=1, udp=1)
    world = World(fleet)
    world.settle()
    answer = world.classify(make_image(fleet), k=2, deadline_s=5)
    assert [vote.wire_bytes for vote in answer.votes] == [27, 25]
