"""Input by multicast to simulated nodes: everybody gets every byte, once, and nobody too much."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_factory import FLEET_ID, KEY, make_fleet, make_image, make_manifest
from simulated_fleet import FIFO, Faults, World, entries_of, ready
from variant_parallelism import wire
from variant_parallelism.gateway import Answer, Warned
from variant_parallelism.gateway.dispatch import WINDOW, Chunk
from variant_parallelism.gateway.requests import Request
from variant_parallelism.keys import group_key

NETWORK = {"gateway": "10.0.0.254", "multicast": "239.77.80.1:47801"}
SIDE = 166
CHUNKS = -(-SIDE * SIDE // wire.CHUNK_SIZE)


def group_of(udp: int = 5, serial: int = 0, seed: int = 0, **table: object) -> World:
    """A fleet whose `udp` nodes listen to a group; images of 54 chunks (27 KB)."""
    manifest = make_manifest(max(3, udp + serial), 10, SIDE)
    fleet = make_fleet(serial=serial, udp=udp, manifest=manifest, network=NETWORK, **table)
    return World(fleet, seed=seed)


def chunks(world: World, since: int = 0) -> list[tuple[int | None, wire.Input]]:
    """The chunks that the gateway sent, to whom (None: the group)."""
    key = group_key(KEY, FLEET_ID)
    sent = []
    for _, node, data in world.sent[since:]:
        message = wire.Deframer().push(data)[0].message if node in world.bytes_per_s else data
        _, body = wire.decode(message, key)
        if isinstance(body, wire.Input) and body.data:
            sent.append((node, body))
    return sent


def check_answer(world: World, answer: Answer, seed: int) -> None:
    """Everybody has voted, for the very image."""
    image = make_image(world.fleet, seed).tobytes()
    assert [vote.node for vote in answer.votes] == [node.id for node in world.fleet.nodes]
    for vote in answer.votes:
        assert vote.entries == entries_of(vote.node, image, 2, 10)


def classify(world: World, seed: int, deadline_s: float = 60) -> Answer:
    answer = world.classify(make_image(world.fleet, seed), deadline_s=deadline_s)
    check_answer(world, answer, seed)
    return answer


def request_of(world: World, number: int) -> Request:
    request = world.core._book.find(number)
    assert request is not None
    return request


def rejected(world: World) -> int:
    return sum(node.rejected for node in world.nodes.values())


def test_five_nodes_get_an_image_in_one_stream() -> None:
    world = ready(group_of(5))
    for seed in range(5):
        before = len(world.sent)
        classify(world, seed)
        sent = chunks(world, before)
        assert [(node, body.chunk) for node, body in sent] == [(None, n) for n in range(CHUNKS)]
    assert max(world.most_waiting.values()) == WINDOW
    counters = world.core.counters
    assert (counters.chunks, counters.multicast) == (5 * CHUNKS, 5 * CHUNKS)
    assert (counters.retransmitted, counters.duplicate) == (0, 0)
    for node in world.core.nodes.values():
        assert (node.counters.chunks, node.counters.multicast) == (5 * CHUNKS, 5 * CHUNKS)


def test_without_a_group_each_node_gets_a_stream_of_its_own() -> None:
    fleet = make_fleet(serial=0, udp=5, manifest=make_manifest(5, 10, SIDE))
    world = ready(World(fleet))
    classify(world, 1)
    assert len(chunks(world)) == 5 * CHUNKS
    assert world.core.counters.multicast == 0
    assert max(world.most_waiting.values()) == WINDOW


def test_serial_and_unicast_nodes_get_their_own_beside_the_group() -> None:
    world = group_of(udp=4, serial=1)
    world.nodes[2].multicast = False
    ready(world)
    classify(world, 1)
    to = [node for node, _ in chunks(world)]
    assert (to.count(None), to.count(0), to.count(2)) == (CHUNKS, CHUNKS, CHUNKS)
    assert len(to) == 3 * CHUNKS


def test_one_listener_alone_is_no_group() -> None:
    world = ready(group_of(1))
    classify(world, 1)
    assert {node for node, _ in chunks(world)} == {0}


FAULTS = {
    "loss": Faults(loss=0.05),
    "much loss": Faults(loss=0.3),
    "duplication": Faults(duplication=0.5),
    "reordering": Faults(reorder=0.5, extra_s=0.02),
    "corruption": Faults(corruption=0.1),
    "everything": Faults(loss=0.1, duplication=0.1, corruption=0.05, reorder=0.3),
}


@pytest.mark.parametrize("faults", FAULTS.values(), ids=FAULTS.keys())
def test_every_node_gets_every_byte_whatever_the_network_does(faults: Faults) -> None:
    world = ready(group_of(4, seed=3, hello_ms=5000))
    world.faults = faults
    for seed in range(6):
        classify(world, seed)
    assert world.core.counters.multicast > 0


@settings(max_examples=10, deadline=None)
@given(
    st.integers(0, 2**32),
    st.floats(0, 0.3),
    st.floats(0, 0.3),
    st.floats(0, 0.1),
    st.floats(0, 0.5),
    st.floats(0, 1),
    st.floats(0.0001, 0.1),
)
def test_no_schedule_of_faults_makes_a_wrong_answer(
    seed: int,
    loss: float,
    duplication: float,
    corruption: float,
    reorder: float,
    group_loss: float,
    delay: float,
) -> None:
    world = group_of(3, seed=seed, serial=1)
    world.delay_s = delay
    world.group_loss = group_loss
    world.faults = Faults(loss, duplication, corruption, reorder, 2 * delay)
    for number in range(2):
        image = make_image(world.fleet, number)
        answer = world.classify(image, deadline_s=10)
        for vote in answer.votes:
            assert vote.entries == entries_of(vote.node, image.tobytes(), 2, 10)


@pytest.mark.parametrize("loss", [0.01, 0.05])
def test_repairs_cost_little(loss: float) -> None:
    world = ready(group_of(5, seed=1))
    world.faults = Faults(loss=loss)
    for seed in range(10):
        classify(world, seed)
    lost = 5 * CHUNKS * loss
    assert len(chunks(world)) / 10 < CHUNKS + 2 * lost
    assert len(chunks(world)) / 10 < 0.3 * 5 * CHUNKS


def test_a_dead_node_holds_the_others_back_once_and_briefly() -> None:
    world = ready(group_of(5, hello_ms=60_000))
    times = []
    for seed in range(4):
        if seed == 1:
            world.nodes[2].alive = False
        before = world.now
        request = world.submit(make_image(world.fleet, seed), deadline_s=2)
        ballot = world.core._book.open[request].ballot
        while ballot.here < 5 - (seed > 0):
            world.step(before + 2)
        times.append(world.now - before)
        world.run(before + 2.1 - world.now)
    healthy, stalled, *later = times
    assert stalled < healthy + 0.15
    assert all(time < healthy + 0.005 for time in later)


def test_a_slow_node_gets_its_image_without_holding_the_others_back() -> None:
    """It takes 40 ms a chunk, so that a window is more than a time-out."""
    world = ready(group_of(5, hello_ms=5000))
    classify(world, 0)
    world.busy_s[2] = 0.04
    world.run(1)
    for seed in (1, 2, 3):
        answer = classify(world, seed)
        quick = [vote.latency_ms for vote in answer.votes if vote.node != 2]
        slow = next(vote.latency_ms for vote in answer.votes if vote.node == 2)
        assert max(quick) < 0.25 * slow
    assert world.most_waiting[2] <= FIFO


def test_a_network_without_multicast_costs_a_time_out_now_and_then() -> None:
    world = ready(group_of(5))
    world.group_loss = 1
    for seed in range(20):
        classify(world, seed)
    assert 0 < world.core.counters.multicast <= 2 * WINDOW
    assert len(chunks(world)) <= 20 * 5 * CHUNKS + world.core.counters.multicast


def test_a_node_that_multicast_does_not_reach_gets_its_own() -> None:
    world = ready(group_of(4))
    world.nodes[3].multicast = False
    assert world.core.nodes[3].status().hello.multicast
    for seed in range(5):
        before = len(world.sent)
        classify(world, seed)
        to = [node for node, _ in chunks(world, before)]
        assert to.count(None) == CHUNKS
        assert to.count(3) == CHUNKS == len(to) - CHUNKS


def test_a_node_with_more_gaps_than_a_report_can_name_gets_them_all() -> None:
    world = ready(group_of(4))
    node, take = world.nodes[3], world.nodes[3].receive
    heard = itertools.count()
    world.tap = lambda sender, message: None if sender == 3 and not over() else message

    def over() -> bool:
        return len(chunks(world)) >= CHUNKS

    def every_second(message: bytes) -> None:
        if over() or next(heard) % 2:
            take(message)

    node.receive = every_second  # type: ignore[method-assign]
    classify(world, 5)
    assert [node for node, _ in chunks(world)].count(None) == CHUNKS


def test_a_node_that_restarts_in_the_middle_is_served_and_heard() -> None:
    for after in (0.0005, 0.002, 0.005, 0.012, 0.02):
        world = ready(group_of(4))
        image = make_image(world.fleet, 5)
        request = world.submit(image, deadline_s=10)
        world.run(after)
        world.nodes[1].reboot()
        world.run(5)
        (answer,) = [answer for answer in world.answers() if answer.request == request]
        check_answer(world, answer, 5)


def test_a_boot_counter_that_rises_in_the_middle_is_survived() -> None:
    world = ready(group_of(4))
    request = world.submit(make_image(world.fleet, 5), deadline_s=10)
    world.run(0.005)
    world.core._out.raise_boot()
    world.core._liveness.after_jump(world.now, True, None)
    world.run(5)
    (answer,) = [answer for answer in world.answers() if answer.request == request]
    check_answer(world, answer, 5)


def test_an_image_never_interrupts_one_that_a_listener_is_still_getting() -> None:
    """A newer image replaces one that is not complete, which then would have to go out again."""
    world = ready(group_of(4, seed=2))
    for node, seconds in enumerate((0.001, 0.02, 0.05, 0.2)):
        world.nodes[node].compute_s = seconds
    world.faults = Faults(loss=0.02)
    requests = []
    for seed in range(12):
        requests.append(world.submit(make_image(world.fleet, seed), deadline_s=60))
        world.run(0.013)
    world.run(30)
    answers = {answer.request: answer for answer in world.answers()}
    for seed, request in enumerate(requests):
        check_answer(world, answers[request], seed)
    assert world.core.counters.errors == 0
    assert [event for event in world.events if isinstance(event, Warned)] == []


def test_a_slow_node_is_not_interrupted_by_the_next_image() -> None:
    world = ready(group_of(4))
    world.busy_s[3] = 0.02
    requests = [world.submit(make_image(world.fleet, 0), deadline_s=60)]
    world.run(0.5)
    assert all(world.core.nodes[node].request is None for node in range(3))
    assert world.core.nodes[3].transfer is not None
    assert not world.core.nodes[3].transfer.completed
    before = len(world.sent)
    requests.append(world.submit(make_image(world.fleet, 1), deadline_s=60))
    world.run(10)
    answers = {answer.request: answer for answer in world.answers()}
    for seed, request in enumerate(requests):
        check_answer(world, answers[request], seed)
    assert world.core.counters.errors == 0
    assert None not in [node for node, _ in chunks(world, before)]


def test_an_image_that_waits_in_a_busy_node_is_not_replaced_by_the_next() -> None:
    world = ready(group_of(4))
    world.nodes[3].compute_s = 0.4
    requests = []
    for seed in range(3):
        requests.append(world.submit(make_image(world.fleet, seed), deadline_s=60))
        world.run(0.1)
    assert world.core.nodes[0].request is None and world.answers() == []
    world.run(10)
    answers = {answer.request: answer for answer in world.answers()}
    for seed, request in enumerate(requests):
        check_answer(world, answers[request], seed)
    assert [node for node, _ in chunks(world)].count(None) == 2 * CHUNKS


def test_a_node_that_is_ready_in_the_middle_joins_in() -> None:
    world = ready(group_of(4))
    world.nodes[3].compute_s = 0.03  # The others take 0.02, a cast 0.018.
    requests = [world.submit(make_image(world.fleet, 0), deadline_s=10)]
    world.run(0.045)
    assert world.answers() == [] and world.core.nodes[0].request is None
    requests.append(world.submit(make_image(world.fleet, 1), deadline_s=10))
    world.run(2)
    answers = {answer.request: answer for answer in world.answers()}
    for seed, request in enumerate(requests):
        check_answer(world, answers[request], seed)
    to = [node for node, _ in chunks(world)]
    assert to.count(None) == 2 * CHUNKS == len(to)
    assert max(world.most_waiting.values()) == WINDOW


def test_an_older_image_goes_to_a_node_under_a_number_newer_than_what_it_overheard() -> None:
    world = ready(group_of(4))
    world.nodes[2].compute_s = world.nodes[3].compute_s = 10
    older = world.submit(make_image(world.fleet, 0), deadline_s=30)
    world.run(0.1)
    world.nodes[3].alive = False
    world.run(5)
    newer = world.submit(make_image(world.fleet, 1), deadline_s=30)
    world.run(0.004)
    world.nodes[3].compute_s = 0.02
    world.nodes[3].reboot()
    world.run(20)
    answers = {answer.request: answer for answer in world.answers()}
    check_answer(world, answers[older], 0)
    assert [vote.node for vote in answers[newer].votes] == [0, 1, 2]
    assert world.core.counters.errors == 0
    assert [event for event in world.events if isinstance(event, Warned)] == []


def test_no_node_gets_a_message_that_is_old_after_what_it_heard_in_the_group() -> None:
    """A message made for one node serves others, but not behind their replay window of 64."""
    world = ready(group_of(3))
    request = world.submit(make_image(world.fleet, 0))
    entry = request_of(world, request)
    out, nodes = world.core._out, world.core.nodes
    first = len(out.outbox)
    out.chunk(nodes[0], entry, Chunk(0, report=False, again=False))
    for number in range(1, CHUNKS):
        out.cast(nodes.values(), [], entry, Chunk(number, False, False))
    out.chunk(nodes[1], entry, Chunk(0, report=False, again=False))
    counters = [wire.peek(data).counter for _, data in list(out.outbox)[first:]]
    assert counters == sorted(set(counters))


def test_messages_to_the_group_and_to_one_are_never_taken_for_replays() -> None:
    world = ready(group_of(4, seed=5))
    world.faults = Faults(loss=0.1)
    for seed in range(10):
        classify(world, seed)
    assert rejected(world) == 0
    counters = [wire.peek(data).counter for _, node, data in world.sent if node is None]
    assert all(low < high for low, high in itertools.pairwise(counters))


def test_a_node_that_comes_up_in_the_middle_does_not_disturb() -> None:
    world = group_of(4)
    world.nodes[3].alive = False
    world.run(5)
    for seed in range(6):
        request = world.submit(make_image(world.fleet, seed), deadline_s=10)
        world.run(0.004)
        if seed == 2:
            world.nodes[3].reboot()
        world.run(1)
        (answer,) = [answer for answer in world.answers() if answer.request == request]
        assert [vote.node for vote in answer.votes][:3] == [0, 1, 2]
        assert (3 in [vote.node for vote in answer.votes]) == (seed > 2)
    assert [event for event in world.events if isinstance(event, Warned)] == []
