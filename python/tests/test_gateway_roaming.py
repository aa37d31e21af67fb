"""UDP nodes whose address changes, and those who would like to be taken for one."""

from __future__ import annotations

import socket
from ipaddress import IPv6Address
from pathlib import Path

import pytest

from fleet_factory import KEY, make_fleet, make_image, write_fleet_file
from free_ports import free_ports
from loopback_nodes import loopback_fleet, nodes_of, run
from simulated_fleet import World, ready, states
from sink_events import until
from variant_parallelism import wire
from variant_parallelism.errors import VpError
from variant_parallelism.flash.identity import identity
from variant_parallelism.fleet import Fleet, NodeTable, load_fleet
from variant_parallelism.gateway import Event, Gateway, NodeChanged, Warned, udp_link
from variant_parallelism.gateway.gate import Source

ELSEWHERE = Source(IPv6Address("::ffff:10.0.0.99"), 6000, 0)
ATTACKER = Source(IPv6Address("::ffff:10.0.0.66"), 666, 0)


class RoamingWorld(World):
    """Nodes that may be elsewhere than the fleet file says."""

    def __init__(self, fleet: Fleet, **options: object) -> None:
        self.places: dict[int, Source] = {}
        self.called: list[tuple[Source, bytes]] = []
        super().__init__(fleet, **options)  # type: ignore[arg-type]
        self.loses = lambda node, data: node in self.places and not self.knows(node)

    def knows(self, node: int) -> bool:
        place = self.places[node]
        slot = self.core.gate.slot_at(place.host, place.port, place.scope)
        return slot == self.core.nodes[node].slot

    def _arrive(self, node: int, serial: bool, data: bytes) -> None:
        if node not in self.places or self.knows(node):
            super()._arrive(node, serial, data)
        else:
            self.core.datagram(self.now, None, data, self.places[node])

    def _collect(self) -> None:
        while self.core.calls:
            source, data = self.core.calls.popleft()
            self.called.append((source, data))
            for node, place in self.places.items():
                if place == source:
                    self.at(self.delay_s, lambda n=node, d=data: self.nodes[n].receive(d))  # type: ignore[misc]
        super()._collect()


def told(world: World) -> list[str]:
    return [event.reason for event in world.events if isinstance(event, NodeChanged)]


def warnings(world: World) -> list[str]:
    return [event.text for event in world.events if isinstance(event, Warned)]


def hello_of(world: World, node: int) -> bytes:
    """A fresh HELLO of a node that goes nowhere."""
    caught: list[bytes] = []
    tap, world.tap = world.tap, lambda _, message: caught.append(message)  # type: ignore[func-returns-value]
    world.nodes[node].send(world.nodes[node].hello())
    world.tap = tap
    return caught[0]


def test_a_node_that_moves_is_asked_where_it_is_now() -> None:
    fleet = make_fleet(deadline_ms=20_000)
    world = RoamingWorld(fleet)
    ready(world)
    world.nodes[2].compute_s = 0.5
    request = world.submit(make_image(fleet))
    world.run(0.01)
    world.places[2] = ELSEWHERE
    world.run(1.2)
    assert world.knows(2)
    assert "moved from 10.0.0.2:5000 to 10.0.0.99:6000" in told(world)
    answer = next(answer for answer in world.answers() if answer.request == request)
    assert answer.missing == ()
    assert world.classify(make_image(fleet)).missing == ()
    assert world.core.nodes[2].status().address == "10.0.0.99:6000"
    assert (world.core.counters.replayed, world.core.counters.forged) == (0, 0)


def test_a_dead_node_comes_back_elsewhere() -> None:
    world = RoamingWorld(make_fleet())
    ready(world)
    world.nodes[1].alive = False
    world.run(5)
    assert states(world)[1] == "dead"
    world.places[1] = ELSEWHERE
    world.nodes[1].reboot()
    world.run(1)
    assert states(world)[1] == "up"


def test_a_hello_that_was_sent_again_from_elsewhere_moves_nobody() -> None:
    """Recorded ones are old; one that overtakes the node's own is given away by that."""
    world = RoamingWorld(make_fleet())
    ready(world)
    for _, message in [heard for heard in world.heard if heard[0] == 1]:
        world.core.datagram(world.now, None, message, ATTACKER)
    assert world.core.counters.replayed > 0
    for _ in range(4):
        fresh = hello_of(world, 1)
        world.core.datagram(world.now, None, fresh, ATTACKER)
        world.core.datagram(world.now, 1, fresh)
        world._collect()
        world.run(0.2)
    assert world.core.gate.slot_at(ATTACKER.host, ATTACKER.port) != world.core.nodes[1].slot
    assert states(world)[1] == "up"
    assert len(warnings(world)) == 1
    assert "heard at 10.0.0.1:5000 and at 10.0.0.66:666" in warnings(world)[0]
    assert {source for source, _ in world.called} == {ATTACKER}
    assert all(len(data) < 32 for _, data in world.called)


def test_one_hello_is_not_enough_and_two_must_follow_each_other() -> None:
    world = RoamingWorld(make_fleet(hello_ms=1000))
    ready(world)
    world.nodes[1].alive = False
    first, second = hello_of(world, 1), hello_of(world, 1)
    world.core.datagram(world.now, None, first, ATTACKER)
    world.core.datagram(world.now, None, first, ATTACKER)
    world.run(3.5)
    world.core.datagram(world.now, None, second, ATTACKER)
    assert world.core.gate.slot_at(ATTACKER.host, ATTACKER.port) != world.core.nodes[1].slot


def test_a_forged_hello_moves_nobody() -> None:
    world = RoamingWorld(make_fleet())
    ready(world)
    for counter in range(10):
        forged = wire.encode(
            world.nodes[1].hello(),
            fleet=7,
            node=1,
            counter=(9 << 16) + counter,
            key=bytes(32),
            classes=10,
        )
        world.core.datagram(world.now, None, forged, ATTACKER)
    assert world.core.counters.forged == 10
    assert list(world.core.calls) == []


def test_without_a_key_nobody_moves_who_has_an_address() -> None:
    world = RoamingWorld(make_fleet(key=None))
    ready(world)
    world.places[1] = ELSEWHERE
    world.run(5)
    assert states(world)[1] == "dead"
    assert world.core.counters.foreign > 2


@pytest.mark.parametrize("key", [KEY, None], ids=["keyed", "plain"])
def test_a_node_that_can_be_anywhere_is_found_by_its_hello(key: bytes | None) -> None:
    node = NodeTable(id=1, variant="v1", board="mps2-an386", udp="any")
    fleet = make_fleet([node], key=key)
    world = RoamingWorld(fleet)
    world.core.link_down(world.now, 1, "waits for its HELLO from any address")
    world.places[1] = ELSEWHERE
    world.run(2)
    assert states(world)[1] == "up"
    assert world.classify(make_image(fleet)).missing == ()
    world.places[1] = ATTACKER
    world.run(2)
    assert world.core.nodes[1].status().address == "10.0.0.66:666"


@pytest.mark.parametrize("batches", [True, False], ids=["recvmmsg", "asyncio"])
def test_nodes_move_on_real_sockets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: bool
) -> None:
    if not batches:
        monkeypatch.setattr(udp_link, "HAS_BATCHES", False)

    async def test() -> None:
        fleet = loopback_fleet([], udp=2)
        anywhere = fleet.nodes[1].model_copy(update={"udp": "any"})
        roaming = fleet.with_nodes([fleet.nodes[0], anywhere], fleet.table.gateway)
        events: list[Event] = []
        async with nodes_of(fleet, {}) as nodes, Gateway(roaming, state_dir=tmp_path) as gateway:
            gateway.on_event(events.append)
            assert await gateway.wait_for_nodes(2, 20) == 2
            assert (await gateway.classify(make_image(fleet))).missing == ()
            # The node keeps its counters, as one does that gets another address by DHCP.
            counter = nodes.nodes[0].counter
            nodes.nodes[0].alive = False
            (port,) = free_ports(socket.SOCK_DGRAM, 1)
            await nodes.start_udp(0, port)
            nodes.nodes[0].counter = counter + 1
            await until(
                lambda: any(
                    isinstance(event, NodeChanged) and event.reason.endswith(f"127.0.0.1:{port}")
                    for event in events
                )
            )
            assert gateway.nodes()[0].state == "up"
            assert (await gateway.classify(make_image(fleet))).missing == ()

    run(test)


def test_vp_flash_needs_an_address_to_write() -> None:
    node = NodeTable(id=1, variant="v1", board="mps2-an386", udp="any")
    fleet = make_fleet([node], network={"gateway": "10.0.0.254"})
    with pytest.raises(VpError, match="node 1: udp = 'any' must begin with an IPv4 address"):
        identity(fleet, node, 1)


def test_two_nodes_can_be_anywhere(tmp_path: Path) -> None:
    nodes = [
        {"id": index, "variant": f"v{index}", "board": "mps2-an386", "udp": "any"}
        for index in range(2)
    ]
    assert [node.udp for node in load_fleet(write_fleet_file(tmp_path, nodes)).nodes] == ["any"] * 2
