"""Datagrams in batches and one by one, and the combination of many votes: the same results."""

from __future__ import annotations

import asyncio
import random
import socket
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fleet_factory import make_fleet, make_image
from loopback_nodes import loopback_fleet, nodes_of, run
from variant_parallelism import wire
from variant_parallelism.aggregate import combine_mean, combine_vp, probabilities, scatter
from variant_parallelism.gateway import Gateway, udp_link
from variant_parallelism.gateway.alarms import Alarms
from variant_parallelism.gateway.combining import FleetCombiner
from variant_parallelism.gateway.gate import BATCH, BLOCKED, Gate
from variant_parallelism.gateway.udp_link import UdpLink

linux = pytest.mark.skipif(not udp_link.HAS_BATCHES, reason="no recvmmsg on this system")


@pytest.mark.parametrize("batches", [pytest.param(True, marks=linux), False])
def test_a_fleet_answers_alike_with_and_without_batches(
    batches: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(udp_link, "HAS_BATCHES", batches)

    async def test() -> None:
        fleet = loopback_fleet([], udp=5)
        async with nodes_of(fleet, []), Gateway(fleet, state_dir=tmp_path) as gateway:
            assert await gateway.wait_for_nodes(5, 20) == 5
            images = [make_image(fleet, seed) for seed in range(6)]
            answers = await asyncio.gather(*(gateway.classify(image) for image in images))
            assert [len(answer.votes) for answer in answers] == [5] * 6
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                address = fleet.table.gateway.listen.rpartition(":")
                stranger.sendto(b"nonsense", (address[0], int(address[2])))
            before = gateway.counters.damaged
            while gateway.counters.damaged == before == 0:
                await asyncio.sleep(0.01)
            counters = gateway.counters
            assert (counters.answers, counters.damaged, counters.foreign) == (6, 1, 0)

    run(test)


def _socket_and_gate(nodes: int) -> tuple[socket.socket, list[socket.socket], Gate]:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    gate = Gate(7, 10, nodes)
    senders = []
    for node in range(nodes):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.bind(("127.0.0.1", 0))
        sender.connect(receiver.getsockname())
        slot = gate.add(node, "v", None, None)
        gate.set_address(slot, ip_address("127.0.0.1"), sender.getsockname()[1])
        senders.append(sender)
    return receiver, senders, gate


@linux
def test_batches_come_whole_in_order_and_from_whom_they_came() -> None:
    receiver, senders, gate = _socket_and_gate(3)
    chance, sent = random.Random(1), []
    for counter in range(BATCH + 40):
        node = chance.randrange(3)
        message = wire.encode(
            wire.Sack(counter, 0, ()), fleet=7, node=node, counter=counter + 1, key=None
        )
        senders[node].send(message)
        sent.append((node, message))
    taken: list[tuple[int, bytes]] = []
    while len(taken) < len(sent):
        assert gate.receive(receiver.fileno(), 1.0) > 0
        taken += [(record.slot, record.message) for record in gate.records()]
    assert taken == sent
    assert gate.receive(receiver.fileno(), 1.0) == BLOCKED
    for opened in (receiver, *senders):
        opened.close()


@linux
def test_a_hello_from_nowhere_known_is_told_with_its_source_and_not_counted() -> None:
    receiver, senders, gate = _socket_and_gate(1)
    gate.set_address(0, None)
    hello = wire.Hello(
        "00" * 8, 10, 8, 8, 1, 64, (0, 1, 0), wire.ResetCause.POWER, 5, 0, 0, "board"
    )
    for counter in range(12):
        senders[0].send(wire.encode(hello, fleet=7, node=0, counter=counter + 1, key=None))
    senders[0].send(wire.encode(wire.Sack(1, 0, ()), fleet=7, node=0, counter=20, key=None))
    assert gate.receive(receiver.fileno(), 1.0) == 13
    records = list(gate.records())
    assert len(records) == 8
    source = records[0].stranger
    assert source is not None and source.port == senders[0].getsockname()[1]
    assert source.address.ipv4_mapped == ip_address("127.0.0.1")
    assert (gate.counters(None).foreign, gate.counters(None).messages_in) == (5, 5)
    for opened in (receiver, *senders):
        opened.close()


class _Sink:
    """A link's sink whose gate takes only so many datagrams at a time."""

    def __init__(self, gate: Gate, room: int) -> None:
        self._gate, self._room = gate, room
        self.sent: list[bytes] = []

    @property
    def gate(self) -> Gate:
        return self  # type: ignore[return-value]

    def set_address(self, slot: int, address: object, port: int = 0, scope: int = 0) -> None: ...

    def send(self, _: int, datagrams: list[tuple[int, bytes]]) -> int:
        self.sent += [message for _, message in datagrams[: self._room]]
        return min(self._room, len(datagrams))

    def on_datagram(self, node_id: int | None, data: bytes) -> None: ...
    def on_socket(self, socket: int) -> None: ...


@linux
def test_what_the_system_does_not_take_follows_in_order() -> None:
    async def test() -> None:
        sink = _Sink(Gate(7, 10, 1), 3)
        link = UdpLink(sink)
        await link.bind("127.0.0.1:0")
        assert await link.add_node(0, 0, "127.0.0.1:9") is None
        await link.start()
        for number in range(20):
            link.send(0, bytes([number]))
        link.flush()
        while len(sink.sent) < 20:
            await asyncio.sleep(0.001)
        assert sink.sent == [bytes([number]) for number in range(20)]
        await link.close()

    run(test)


@st.composite
def _votes(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]]:
    nodes = draw(st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True).map(sorted))
    k = draw(st.integers(1, 10))
    order = [draw(st.permutations(range(10)))[:k] for _ in nodes]
    scores = draw(
        st.lists(
            st.lists(st.integers(-128, 127), min_size=k, max_size=k),
            min_size=len(nodes),
            max_size=len(nodes),
        )
    )
    return np.array(nodes), np.array(order), np.array(scores, np.int8)


@settings(deadline=None)
@given(_votes(), st.sampled_from(["vp", "vip"]))
def test_the_papers_methods_combine_bit_for_bit_as_their_definitions_do(
    votes: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int8]], method: str
) -> None:
    fleet = make_fleet(serial=0, udp=5, aggregation=method)
    nodes, classes, scores = votes
    vectors = scatter(classes, probabilities(scores), 10)
    weights = np.array([fleet.variant_of(fleet.nodes[node]).weight for node in nodes])
    expected = combine_vp(vectors, weights) / sum(weights)
    if method == "vip":
        expected = combine_mean(vectors)
    combined = FleetCombiner(fleet)(nodes, classes, scores)
    np.testing.assert_array_equal(combined, expected)


def test_an_alarm_rings_once_at_the_earliest_time_that_it_was_set_to() -> None:
    alarms: Alarms[str] = Alarms()
    assert alarms.wake_at() == float("inf")
    alarms.set("a", 5.0)
    alarms.set("b", 4.0)
    alarms.set("a", 2.0)
    alarms.set("a", 9.0)
    assert (alarms.wake_at(), alarms.due(1.9)) == (2.0, [])
    assert (alarms.due(2.0), alarms.due(2.0)) == (["a"], [])
    alarms.forget("b")
    assert (alarms.wake_at(), alarms.due(100.0)) == (float("inf"), [])


def test_alarms_that_were_replaced_or_forgotten_take_no_memory_for_long() -> None:
    alarms: Alarms[int] = Alarms()
    for number in range(10_000):
        alarms.set(number, 1e6 - number)
        alarms.set(number, 1e5 - number)
        alarms.forget(number)
    assert len(alarms._heap) < 200
