"""Nodes that come back under an address that another node of the fleet had."""

from __future__ import annotations

import asyncio
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from fleet_factory import KEY, make_fleet, make_image
from loopback_nodes import loopback_fleet, nodes_of, run
from simulated_fleet import World, ready, states
from sink_events import until
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway import Gateway, udp_link
from variant_parallelism.gateway.gate import NOBODY, Source


def place(number: int) -> Source:
    return Source(IPv6Address(f"::ffff:10.0.0.{number}"), 5000, 0)


class AddressedWorld(World):
    """Datagrams come from addresses and go to addresses, as over a socket."""

    def __init__(self, fleet: Fleet) -> None:
        self.places: dict[int, Source] = {}
        super().__init__(fleet)
        for node in self.core.nodes.values():
            self.places[node.id] = place(10 + node.id)
            if node.table.udp != "any":
                here = self.places[node.id]
                self.core.gate.set_address(node.slot, here.host, here.port)

    def slot_at(self, source: Source) -> int:
        return self.core.gate.slot_at(source.host, source.port, source.scope)

    def _arrive(self, node: int, serial: bool, data: bytes) -> None:
        slot = self.slot_at(self.places[node])
        sender = None if slot == NOBODY else self.core.gate.id_at(slot)
        self.core.datagram(self.now, sender, data, self.places[node])

    def _to_node(self, node: int, data: bytes) -> None:
        for other, source in self.places.items():
            if self.slot_at(source) == self.core.nodes[node].slot:
                super()._to_node(other, data)

    def _collect(self) -> None:
        while self.core.calls:
            source, data = self.core.calls.popleft()
            for node in [node for node, here in self.places.items() if here == source]:
                self._carry(node, data)
        super()._collect()


def anywhere(key: bytes | None) -> Fleet:
    fleet = make_fleet(serial=0, udp=2, key=key)
    nodes = [node.model_copy(update={"udp": "any"}) for node in fleet.nodes]
    return fleet.with_nodes(nodes, fleet.table.gateway)


@pytest.mark.parametrize("udp", ["fixed", "any", "any without a key"])
def test_a_node_takes_the_address_of_one_that_is_off(udp: str) -> None:
    fixed = make_fleet(serial=0, udp=2)
    fleet = fixed if udp == "fixed" else anywhere(KEY if udp == "any" else None)
    world = AddressedWorld(fleet)
    world.run(3)
    assert set(states(world).values()) == {"up"}
    world.nodes[1].alive = False
    world.run(5)
    world.places[0] = world.places[1]
    world.run(4)
    assert states(world) == {0: "up", 1: "dead"}
    assert world.core.nodes[0].status().address == "10.0.0.11:5000"
    assert len(world.classify(make_image(fleet)).votes) == 1
    world.places[1] = place(12)
    world.nodes[1].reboot()
    world.run(4)
    assert world.classify(make_image(fleet)).missing == ()


def test_two_nodes_swap_their_addresses() -> None:
    world = AddressedWorld(make_fleet(serial=0, udp=2))
    world.run(1)
    world.places[0], world.places[1] = world.places[1], world.places[0]
    world.run(10)
    assert set(states(world).values()) == {"up"}
    assert world.classify(make_image(world.fleet)).missing == ()


def test_nobody_takes_the_address_of_a_node_that_is_there() -> None:
    """Somebody who passes a node's HELLOs on under the address of another."""
    world = AddressedWorld(make_fleet(serial=0, udp=2))
    ready(world)
    world.places[0] = world.places[1]
    world.run(20)
    assert states(world) == {0: "dead", 1: "up"}
    assert world.slot_at(world.places[1]) == world.core.nodes[1].slot
    assert len(world.heard) < 100


def test_without_a_key_a_fixed_address_stays_its_nodes() -> None:
    fleet = make_fleet(serial=0, udp=2, key=None)
    first = fleet.nodes[0].model_copy(update={"udp": "any"})
    world = AddressedWorld(fleet.with_nodes([first, fleet.nodes[1]], fleet.table.gateway))
    world.run(3)
    world.nodes[1].alive = False
    world.run(5)
    world.places[0] = world.places[1]
    world.run(5)
    assert states(world) == {0: "dead", 1: "dead"}
    assert world.core.nodes[1].counters.foreign > 0
    world.places[0] = place(10)
    world.nodes[1].reboot()
    world.run(5)
    assert set(states(world).values()) == {"up"}


@pytest.mark.parametrize("batches", [True, False], ids=["recvmmsg", "asyncio"])
def test_addresses_change_hands_on_real_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: bool
) -> None:
    if not batches:
        monkeypatch.setattr(udp_link, "HAS_BATCHES", False)

    async def test() -> None:
        fleet = loopback_fleet([], udp=2)
        ports = [int(str(node.udp).rpartition(":")[2]) for node in fleet.nodes]
        async with nodes_of(fleet, {}) as nodes, Gateway(fleet, state_dir=tmp_path) as gateway:
            assert await gateway.wait_for_nodes(2, 20) == 2
            counters = [nodes.nodes[node].counter for node in (0, 1)]
            for node in (0, 1):
                nodes.nodes[node].alive = False
                nodes._closers[node]()
            await asyncio.sleep(0)
            for node in (0, 1):
                await nodes.start_udp(node, ports[1 - node])
                nodes.nodes[node].counter = counters[node] + 1
            await until(
                lambda: (
                    [(node.address, node.state) for node in gateway.nodes()]
                    == [(f"127.0.0.1:{ports[1]}", "up"), (f"127.0.0.1:{ports[0]}", "up")]
                )
            )
            assert (await gateway.classify(make_image(fleet))).missing == ()

    run(test)
