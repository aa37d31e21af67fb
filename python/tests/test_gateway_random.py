"""Random fleets, links, nodes, reloads and [judging] tables in virtual time, against what must hold
of every answer whatever happens."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import Any

import pytest

from fleet_factory import make_fleet, make_image, make_manifest
from simulated_fleet import Faults, World, entries_of
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet, NodeTable
from variant_parallelism.gateway import Answer, Warned
from variant_parallelism.judging_table import JudgingTable

VARIANTS = 12
NETWORK = {"gateway": "10.0.0.254", "multicast": "239.77.80.1:47801"}


def judging_of(chance: random.Random, nodes: int) -> JudgingTable:
    keys: dict[str, Any] = {"deadline": chance.choice(["fixed", "auto"])}
    if nodes >= 3:
        keys["combine"] = chance.choice(["vp", "vip", "trimmed-mean", "median", "agreement"])
        keys["quarantine"] = chance.random() < 0.5
        if chance.random() < 0.5:
            keys |= {"first": 2, "confidence": 0.3, "everyone_every": 3}
    return JudgingTable(**keys)


@dataclass
class Asked:
    image: bytes | None
    """None: a trigger."""
    k: int
    deadline_s: float


class Chaos:
    """One random run; `asked` are the requests by their numbers, which are not used twice."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        keys: dict[str, Any] = {"network": NETWORK} if chance.random() < 0.6 else {}
        udp, serial = chance.randint(2, 6), chance.choice([0, 0, 1])
        keys["judging"] = judging_of(chance, udp + serial)
        manifest = make_manifest(VARIANTS)
        self.first = make_fleet(manifest=manifest, serial=serial, udp=udp, k=3, **keys)
        sensors = {node for node in range(60) if chance.random() < 0.7}
        self.world = World(self.first, seed=seed, sensors=sensors, first_request=65_500)
        for node in self.world.nodes.values():
            node.compute_s = chance.choice([0.005, 0.02, 0.1])
        self.world.run(0.6)
        self.lossless = chance.random() < 0.5
        if not self.lossless:
            self.world.faults = Faults(loss=0.05, duplication=0.1, corruption=0.02, reorder=0.1)
        self.asked: dict[int, Asked] = {}
        self.boards = 50

    def ask(self) -> None:
        deadline_s, k = self.chance.choice([0.1, 0.5, 2.0]), self.chance.choice([1, 3])
        if self.chance.random() < 0.35:
            try:
                number = self.world.trigger(k, deadline_s)
            except VpError as error:
                assert "input source" in str(error)
                return
            self.asked[number] = Asked(None, k, deadline_s)
        else:
            image = make_image(self.first, len(self.asked))
            number = self.world.submit(image, k, deadline_s)
            self.asked[number] = Asked(image.tobytes(), k, deadline_s)

    def disturb(self) -> None:
        world, chance = self.world, self.chance
        node = chance.choice(list(world.core.nodes))
        deed = chance.choice(
            ["die", "return", "return", "quarantine", "unplug", "reload", "reload"]
        )
        if deed == "die":
            world.nodes[node].alive = False
        elif deed == "return":
            world.nodes[node].reboot()
        elif deed == "quarantine":
            world.core.quarantine(world.now, node, chance.random() < 0.5, "")
            world._collect()
        elif deed == "unplug":
            world.core.link_down(world.now, node, "unplugged")
            world._collect()
            world.at(0.3, lambda: self.plug_in(node))
        else:
            world.reload(self.changed(world.fleet))

    def plug_in(self, node: int) -> None:
        if node in self.world.core.nodes:
            self.world.core.link_up(self.world.now, node)

    def changed(self, fleet: Fleet) -> Fleet:
        nodes, chance = list(fleet.nodes), self.chance
        at, variant = chance.randrange(len(nodes)), f"v{chance.randrange(VARIANTS)}"
        deed = chance.choice(["remove", "add", "change"])
        if deed == "remove" and len(nodes) > 3:
            nodes.pop(at)
        elif deed == "add" and self.boards < 60:
            way = f"10.1.0.{self.boards}:5000"
            table = NodeTable(id=self.boards, variant=variant, board="mps2-an386", udp=way)
            nodes.insert(at, table)
            self.boards += 1
        elif deed == "change":
            nodes[at] = nodes[at].model_copy(update={"variant": variant})
        return replace(fleet, table=fleet.table.model_copy(update={"nodes": nodes}))

    def check(self, answer: Answer) -> None:
        asked = self.asked[answer.request]
        voters = [vote.node for vote in answer.votes]
        assert len(set(voters)) == len(voters)
        assert set(voters).isdisjoint(answer.missing)
        assert set(answer.spared).isdisjoint([*answer.missing, *voters])
        assert (answer.class_index is None) == (not voters)
        assert not voters or any(vote.counted for vote in answer.votes)
        assert answer.latency_ms <= asked.deadline_s * 1000 + 1e-3
        for vote in answer.votes:
            if asked.image is not None:
                assert vote.entries == entries_of(vote.node, asked.image, asked.k, 10)


@pytest.mark.parametrize("seed", [43, 97, 166, *range(20)])
def test_every_request_ends_once_and_in_time_with_votes_that_were_cast(seed: int) -> None:
    chaos = Chaos(seed)
    world = chaos.world
    for _ in range(50):
        chaos.ask() if chaos.chance.random() < 0.65 else chaos.disturb()
        world.run(chaos.chance.choice([0, 0.001, 0.01, 0.05, 0.3]))
    world.run(5)
    answers = world.answers()
    assert sorted(answer.request for answer in answers) == sorted(chaos.asked)
    for answer in answers:
        chaos.check(answer)
    counters = world.core.counters
    assert (counters.requests, counters.answers + counters.lost) == (len(answers), len(answers))
    warnings = [event.text for event in world.events if isinstance(event, Warned)]
    assert not any("failed:" in text for text in warnings)
    if chaos.lossless:
        assert not any("for old" in text for text in warnings)
    # Nothing is kept of what is over.
    assert not world.core._book.open and not world.core._book._numbers
    assert not any(node.queue or node.request for node in world.core.nodes.values())
