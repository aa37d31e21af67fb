"""The gateway's core in virtual time: requests, deadlines, liveness."""

from __future__ import annotations

import numpy as np
import pytest

from fleet_factory import make_fleet, make_image
from simulated_fleet import HELLO_S, World, entries_of, ready, states
from variant_parallelism import wire
from variant_parallelism.errors import VpError
from variant_parallelism.gateway import NodeChanged
from variant_parallelism.gateway.combining import FleetCombiner, conclude
from variant_parallelism.gateway.gate import Gate
from variant_parallelism.gateway.requests import RequestBook
from variant_parallelism.gateway.roster import make_nodes


def test_every_live_node_is_asked_and_answers_exactly_what_it_computed() -> None:
    fleet = make_fleet(serial=2, udp=3)
    world = ready(World(fleet))
    for seed in range(5):
        image = make_image(fleet, seed)
        answer = world.classify(image, k=3)
        assert [vote.node for vote in answer.votes] == [0, 1, 2, 3, 4]
        for vote in answer.votes:
            assert vote.entries == entries_of(vote.node, image.tobytes(), 3, 10)
            assert vote.variant == f"v{vote.node}"
            assert vote.inference_ms == 20.0
        assert (answer.missing, answer.errors) == ((), {})
    counters = world.core.counters
    assert (counters.requests, counters.answers, counters.lost) == (5, 5, 0)
    assert counters.retransmitted == 0


def test_vp_adds_what_was_sent_by_the_manifests_weights() -> None:
    fleet = make_fleet(serial=0, udp=3)
    world = ready(World(fleet))
    image = make_image(fleet, 3)
    answer = world.classify(image, k=2)
    weights = [variant.weight for variant in fleet.manifest.variants]
    expected = np.zeros(10)
    for node in range(3):
        for index, score in entries_of(node, image.tobytes(), 2, 10):
            expected[index] += weights[node] * (score + 128) / 256
    np.testing.assert_allclose(answer.scores, expected / sum(weights), rtol=1e-12)
    assert answer.class_index == int(np.argmax(expected))
    assert answer.class_name == f"c{answer.class_index}"
    assert answer.score == pytest.approx(expected.max() / sum(weights))


def test_vip_takes_the_mean() -> None:
    fleet = make_fleet(serial=0, udp=3, aggregation="vip")
    world = ready(World(fleet))
    image = make_image(fleet, 3)
    answer = world.classify(image, k=10)
    expected = np.zeros(10)
    for node in range(3):
        for index, score in entries_of(node, image.tobytes(), 10, 10):
            expected[index] += (score + 128) / 256 / 3
    np.testing.assert_allclose(answer.scores, expected, rtol=1e-12)


def test_a_tie_goes_to_the_lower_class() -> None:
    fleet = make_fleet(serial=0, udp=2)
    weights = [fleet.manifest.variants[node].weight for node in range(2)]
    gate = Gate(fleet.table.id, len(fleet.manifest.classes), len(fleet.nodes))
    make_nodes(fleet, gate, {})
    request = RequestBook(gate, 1).add(make_image(fleet), 2, 0.0, 1.0)
    for slot, entries in enumerate([((7, 0), (3, 0)), ((3, 0), (7, 0))]):
        request.ballot.ask(slot, awaited=True)
        assert gate.vote(slot, wire.Prediction(request.id, 1.0, entries), 25, 0.5)
    answer = conclude(fleet, FleetCombiner(fleet), gate, request, 0.5)
    assert answer.class_index == 3
    assert answer.scores[3] == answer.scores[7] == pytest.approx(sum(weights) / 2 / sum(weights))


def test_what_has_arrived_by_the_deadline_is_the_answer() -> None:
    world = ready(World(make_fleet(serial=0, udp=3)))
    world.nodes[1].alive = False
    answer = world.classify(make_image(world.fleet), deadline_s=1.0)
    assert answer.latency_ms == pytest.approx(1000)
    assert answer.missing == (1,)
    assert world.core.nodes[1].counters.lost == 1


def test_the_answer_does_not_wait_for_a_node_that_died_meanwhile() -> None:
    world = ready(World(make_fleet(serial=0, udp=3)))
    world.nodes[1].alive = False
    request = world.submit(make_image(world.fleet), deadline_s=60)
    world.run(3 * HELLO_S + 0.1)
    (answer,) = world.answers()
    assert (answer.request, answer.missing) == (request, (1,))
    assert states(world)[1] == "dead"
    assert answer.latency_ms < 60_000
    silent = [event for event in world.events if isinstance(event, NodeChanged)][-1]
    assert (silent.node, silent.state, silent.reason) == (1, "dead", "silent for 3 s")


@pytest.mark.parametrize("stopped_s", [2.8, 3.0, 10.0])
def test_a_gateway_that_did_not_run_hears_its_nodes_out_before_it_calls_them_dead(
    stopped_s: float,
) -> None:
    world = ready(World(make_fleet(serial=2, udp=3)))
    world.nodes[4].alive = False
    begin = world.now
    for _ in range(3):
        # Nothing is delivered meanwhile, and no timer served: the heartbeats wait their turn.
        world.now += stopped_s * HELLO_S
        world.run(0.6 * HELLO_S)
    changes = [event for event in world.events if isinstance(event, NodeChanged)]
    assert [(event.node, event.state) for event in changes if event.state != "up"] == [(4, "dead")]
    assert len(changes) == 5 + 1
    assert states(world) == {0: "up", 1: "up", 2: "up", 3: "up", 4: "dead"}
    assert world.now - begin == pytest.approx(3 * (stopped_s + 0.6) * HELLO_S)


def test_a_closed_port_kills_its_node_at_once() -> None:
    world = ready(World(make_fleet(serial=1, udp=1)))
    world.submit(make_image(world.fleet), deadline_s=60)
    world.run(0.1)
    assert not world.answers()
    world.core.link_down(world.now, 0, "unplugged")
    world.run(0.001)
    (answer,) = world.answers()
    assert answer.missing == (0,)
    assert (world.core.nodes[0].state, world.core.nodes[0].reason) == ("dead", "unplugged")


def test_with_nobody_alive_the_deadline_says_so() -> None:
    world = World(make_fleet())
    for node in world.nodes.values():
        node.alive = False
    world.run(5)
    answer = world.classify(make_image(world.fleet), deadline_s=0.25)
    assert (answer.class_index, answer.class_name, answer.score) == (None, None, None)
    assert answer.latency_ms == pytest.approx(250)
    assert (answer.votes, answer.missing) == ((), (0, 1, 2))
    assert not answer.scores.any()
    assert world.core.counters.lost == 1


def test_a_node_that_comes_up_before_the_deadline_saves_the_request() -> None:
    world = World(make_fleet(serial=0, udp=2))
    for node in world.nodes.values():
        node.alive = False
    world.run(5)
    world.submit(make_image(world.fleet), deadline_s=2)
    world.run(0.5)
    world.nodes[1].reboot()
    world.run(1)
    (answer,) = world.answers()
    assert [vote.node for vote in answer.votes] == [1]


def test_a_node_that_restarts_in_the_middle_of_an_image_gets_it_again() -> None:
    fleet = make_fleet(serial=1, udp=1)
    world = ready(World(fleet))
    image = make_image(fleet)
    world.submit(image, deadline_s=5)
    world.run(0.15)
    assert 0 < len(next(iter(world.nodes[0].incoming.values())).chunks) < 8
    before = len(world.sent)
    world.nodes[0].reboot()
    world.run(0.002)
    ((_, node, question),) = world.sent[before:]
    assert (node, len(question)) == (0, 30)
    world.run(3)
    (answer,) = world.answers()
    assert [vote.node for vote in answer.votes] == [0, 1]
    assert answer.votes[0].entries == entries_of(0, image.tobytes(), 2, 10)
    assert answer.latency_ms < 2500


def test_a_node_that_was_frozen_past_the_deadline_is_late_and_then_takes_part_again() -> None:
    world = ready(World(make_fleet(serial=0, udp=2)))
    world.nodes[1].compute_s = 0.4
    answer = world.classify(make_image(world.fleet), deadline_s=0.2)
    assert answer.missing == (1,)
    world.run(1)
    assert world.core.counters.late == 1
    assert world.core.nodes[1].counters.late == 1
    world.nodes[1].compute_s = 0.02
    assert world.classify(make_image(world.fleet, 1), deadline_s=0.2).missing == ()


def test_an_answer_sent_twice_counts_once() -> None:
    world = ready(World(make_fleet(serial=0, udp=2)))
    world.nodes[1].compute_s = 0.2
    request = world.submit(make_image(world.fleet), deadline_s=5)
    world.run(0.1)
    world.nodes[0]._predict(request)
    world.run(0.5)
    world.nodes[0]._predict(request)
    world.run(0.1)
    (answer,) = world.answers()
    assert len(answer.votes) == 2
    assert world.core.counters.duplicate == 2


def test_errors_of_nodes_are_part_of_the_answer() -> None:
    world = ready(World(make_fleet(serial=0, udp=2)))
    node = world.nodes[1]
    node.compute_s = 60
    request = world.submit(make_image(world.fleet), deadline_s=5)
    world.run(0.05)
    node.send(wire.NodeError(request, wire.ErrorCode.SHAPE))
    world.run(1)
    (answer,) = world.answers()
    assert answer.errors == {1: "the node's model takes another number of channels"}
    assert answer.missing == (1,)
    assert answer.latency_ms < 100
    assert world.core.counters.errors == 1


def test_if_every_node_refuses_the_answer_says_why_at_once() -> None:
    world = ready(World(make_fleet(serial=0, udp=2)))
    for node in world.nodes.values():
        node.compute_s = 60
    request = world.submit(make_image(world.fleet), deadline_s=5)
    world.run(0.05)
    for node in world.nodes.values():
        node.send(wire.NodeError(request, wire.ErrorCode.TOO_LARGE))
    world.run(0.05)
    (answer,) = world.answers()
    assert answer.class_index is None
    assert answer.errors == dict.fromkeys([0, 1], "the image is larger than the node's buffer")
    assert world.core.counters.lost == 1


def test_many_requests_at_once_are_all_answered() -> None:
    fleet = make_fleet(serial=1, udp=2)
    world = ready(World(fleet))
    images = {world.submit(make_image(fleet, seed), deadline_s=60): seed for seed in range(10)}
    world.run(30)
    answers = {answer.request: answer for answer in world.answers()}
    assert answers.keys() == images.keys()
    for number, seed in images.items():
        image = make_image(fleet, seed).tobytes()
        for vote in answers[number].votes:
            assert vote.entries == entries_of(vote.node, image, 2, 10)
        assert len(answers[number].votes) == 3


def test_request_numbers_wrap_around() -> None:
    world = ready(World(make_fleet(serial=0, udp=1), boot=255))
    numbers = [world.classify(make_image(world.fleet)).request for _ in range(300)]
    assert numbers[:2] == [0xFF00, 0xFF01]
    assert numbers[-1] == (0xFF00 + 299) & 0xFFFF
    assert world.core.counters.answers == 300


def test_a_cancelled_request_leaves_nothing_behind() -> None:
    world = ready(World(make_fleet(serial=1, udp=1)))
    request = world.core.submit(world.now, make_image(world.fleet), None, 60)
    world.core.cancel(request)
    world.core.cancel(request)
    world.run(10)
    assert not world.answers()
    assert world.classify(make_image(world.fleet, 1), deadline_s=5).missing == ()


@pytest.mark.parametrize(
    ("shape", "k", "deadline_s", "message"),
    [
        ((64, 64), 2, 1.0, "height x width x 1"),
        ((64, 64, 3), 2, 1.0, "not uint8 64x64x3"),
        ((0, 64, 1), 2, 1.0, "sides 1 to 4096"),
        ((64, 5000, 1), 2, 1.0, "sides 1 to 4096"),
        ((64, 64, 1), 0, 1.0, "k must be 1 to 10, not 0"),
        ((64, 64, 1), 11, 1.0, "k must be 1 to 10, not 11"),
        ((64, 64, 1), 2, 0.0, "deadline must be over 0"),
        ((64, 64, 1), 2, float("nan"), "deadline must be over 0"),
    ],
)
def test_impossible_requests_are_refused(
    shape: tuple[int, ...], k: int, deadline_s: float, message: str
) -> None:
    world = ready(World(make_fleet()))
    with pytest.raises(VpError, match=message):
        world.submit(np.zeros(shape, np.uint8), k, deadline_s)
    with pytest.raises(VpError, match="not float32"):
        world.submit(np.zeros((64, 64, 1), np.float32))  # type: ignore[arg-type]
