"""The gateway's C gate: the same verdicts, counters and votes as the model in Python."""

from __future__ import annotations

import random
from ipaddress import ip_address

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inbound_model import Model, ModelBallot, ModelNode
from variant_parallelism import wire
from variant_parallelism.gateway.ballot import ASKED, HERE, Ballot
from variant_parallelism.gateway.gate import BATCH, NOBODY, Gate
from variant_parallelism.gateway.types import Counters

FLEET, CLASSES, NODES = 7, 300, 3
KEYS = [bytes([node + 1]) * 32 for node in range(NODES)]
REQUESTS = {5: 2, 6: 3}
"""k by number."""


class Pair:
    """A gate and its model, fed with the same messages."""

    def __init__(self, keyed: bool, open_nodes: list[bool]) -> None:
        keys = KEYS if keyed else [None] * NODES
        self.keys = keys
        self.gate = Gate(FLEET, CLASSES, 1)
        self.ballots = {number: Ballot(number, NODES, k) for number, k in REQUESTS.items()}
        self.model = Model(FLEET, CLASSES, [], {})
        for slot, (key, is_open) in enumerate(zip(keys, open_nodes, strict=True)):
            assert self.gate.add(10 + slot, f"v{slot}", key, None) == slot
            node = self.gate.node(slot)
            node.open, node.awaited, node.boot = is_open, 1, 1
            self.model.nodes.append(ModelNode(10 + slot, key, is_open))
        for number, ballot in self.ballots.items():
            asked = {0, 1} if number == 5 else {0, 1, 2}
            for slot in asked:
                ballot.ask(slot, awaited=True)
            self.gate.open_ballot(number, ballot)
            self.model.ballots[number] = ModelBallot(ballot.c.k, asked)

    def take(self, slot: int | None, message: bytes) -> None:
        expected = self.model.take(slot, message)
        self.gate.clear()
        self.gate.take(NOBODY if slot is None else slot, message, len(message), 1.0)
        records = list(self.gate.records())
        verdict = "dropped"
        if records:
            verdict = "stale" if records[0].stale else "passed"
            assert (records[0].slot, records[0].message) == (slot, message)
        elif self.gate.touched():
            verdict = "voted"
        assert verdict == expected

    def compare(self) -> None:
        assert self.gate.counters(None) == Counters(**self.model.counts)
        for slot, node in enumerate(self.model.nodes):
            assert self.gate.counters(slot) == Counters(**node.counts)
            assert self.gate.node(slot).replay.highest == node.replay.highest
        for number, ballot in self.ballots.items():
            expected = self.model.ballots[number]
            assert ballot.here == len(expected.votes)
            assert ballot.awaited == len(expected.asked) - len(expected.votes)
            assert set(np.flatnonzero(ballot.states & HERE)) == set(expected.votes)
            assert set(np.flatnonzero(ballot.states & ASKED)) == expected.asked
            for slot, entries in expected.votes.items():
                row = ballot.rows[slot]
                told = zip(row["classes"].tolist(), row["scores"].tolist(), strict=True)
                assert tuple(told)[: expected.k] == entries


def made(chance: random.Random, keys: list[bytes | None], sent: list[bytes]) -> bytes:
    """A message as a node, a stranger, an attacker or a bad line could send it."""
    if sent and chance.random() < 0.15:
        return chance.choice(sent)
    node = chance.randrange(NODES)
    entries = sorted(
        ((chance.randrange(CLASSES), chance.randrange(-128, 128)) for _ in range(3)),
        key=lambda entry: (-entry[1], entry[0]),
    )[: chance.choice((2, 3))]
    body: wire.Body = chance.choice(
        [
            *[wire.Prediction(chance.choice((5, 5, 6, 6, 9)), 1.5, tuple(entries))] * 6,
            wire.Sack(5, 1, ()),
            wire.NodeError(6, wire.ErrorCode.MODEL),
            wire.Discover(),
        ]
    )
    sequence = len(sent) + chance.choice((0, 0, 0, 1, -3, -70, 40))
    boot = chance.choice((1,) * 19 + (2,)) if len(sent) > 40 else 1
    counter = (boot << wire.SEQUENCE_BITS) + max(0, sequence)
    try:
        message = wire.encode(
            body,
            fleet=chance.choice((FLEET,) * 9 + (8,)),
            node=chance.choice((10 + node,) * 9 + (77,)),
            counter=counter,
            key=chance.choice((keys[node],) * 9 + (KEYS[0], None)),
            classes=CLASSES,
        )
    except wire.WireError:
        # Two entries of one class: what a node would never send, but another may.
        message = chance.randbytes(30)
    if chance.random() < 0.1:
        damaged = bytearray(message)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        message = bytes(damaged)
    if chance.random() < 0.05:
        message = message[: chance.randrange(len(message) + 1)]
    return message


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**32), st.booleans(), st.lists(st.booleans(), min_size=NODES, max_size=NODES)
)
def test_the_gate_does_what_its_model_does(seed: int, keyed: bool, open_nodes: list[bool]) -> None:
    chance = random.Random(seed)
    pair = Pair(keyed, open_nodes)
    sent: list[bytes] = []
    for _ in range(80):
        message = made(chance, pair.keys, sent)
        slot = chance.choice((0, 1, 2, 0, 1, 2, None))
        if len(message) >= 4 and chance.random() < 0.9:
            slot = (message[2] - 10) % NODES
        sent.append(message)
        pair.take(slot, message)
    pair.compare()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600), st.booleans())
def test_no_bytes_pass_the_gate_by_chance(data: bytes, keyed: bool) -> None:
    pair = Pair(keyed, [True] * NODES)
    for slot in (0, 1, 2, None):
        pair.take(slot, data)
    pair.compare()


def test_messages_longer_than_any_are_damaged_and_nothing_of_them_is_kept() -> None:
    pair = Pair(True, [True] * NODES)
    pair.take(0, bytes(wire.MAX_MESSAGE + 1))
    pair.take(0, bytes(65507))
    assert pair.gate.counters(0).damaged == 2
    pair.compare()


def test_a_batch_leaves_every_message_that_is_to_be_read_in_its_order() -> None:
    gate = Gate(FLEET, CLASSES, 1)
    gate.add(10, "v", None, None)
    messages = [
        wire.encode(wire.Sack(n, 0, ()), fleet=FLEET, node=10, counter=n + 1, key=None)
        for n in range(BATCH)
    ]
    gate.clear()
    for message in messages:
        gate.take(0, message, len(message), 1.0)
    assert [record.message for record in gate.records()] == messages


def test_nodes_are_found_by_their_addresses_also_after_others_came_and_went() -> None:
    gate = Gate(FLEET, CLASSES, 2)
    places = [(f"10.0.{node // 250}.{node % 250}", 4000 + node % 3) for node in range(600)]
    places += [(f"fe80::{node:x}", 4000) for node in range(1, 50)]
    for node, (host, port) in enumerate(places):
        slot = gate.add(node, "v", KEYS[0], None)
        gate.set_address(slot, ip_address(host), port, 2 if ":" in host else 0)
    for slot in range(0, len(places), 7):
        gate.retire(slot)
    for slot, (host, port) in enumerate(places):
        scope = 2 if ":" in host else 0
        expected = NOBODY if slot % 7 == 0 else slot
        assert gate.slot_at(ip_address(host), port, scope) == expected
        assert gate.slot_at(ip_address(host), port + 10, scope) == NOBODY
    assert gate.slot_at(ip_address("fe80::1"), 4000, 3) == NOBODY


def test_a_retired_node_is_foreign_and_never_awaited() -> None:
    pair = Pair(True, [True] * NODES)
    message = wire.encode(
        wire.Sack(5, 0, ()), fleet=FLEET, node=10, counter=1, key=KEYS[0], classes=CLASSES
    )
    pair.gate.retire(0)
    pair.gate.clear()
    pair.gate.take(0, message, len(message), 1.0)
    assert list(pair.gate.records()) == []
    assert (pair.gate.counters(0).foreign, list(pair.gate.awaited)) == (1, [0, 1, 1])


@pytest.mark.parametrize("highest", [0, 99, (1 << 40) - 2])
def test_counters_of_earlier_runs_are_not_accepted_again(highest: int) -> None:
    gate = Gate(FLEET, CLASSES, 1)
    gate.add(10, "v", KEYS[0], highest)
    for counter, taken in ((highest, False), (max(0, highest - 5), False), (highest + 1, True)):
        gate.clear()
        message = wire.encode(
            wire.Sack(5, 0, ()), fleet=FLEET, node=10, counter=counter, key=KEYS[0]
        )
        gate.take(0, message, len(message), 1.0)
        assert [record.stale for record in gate.records()] == [not taken]
