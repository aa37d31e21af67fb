"""Multicast on the real sockets of this machine's loopback interface."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

import pytest

from fleet_factory import make_image
from free_ports import free_ports
from loopback_nodes import loopback_fleet, nodes_of, run
from simulated_fleet import entries_of
from variant_parallelism.gateway import Gateway
from variant_parallelism.gateway.gate import Gate
from variant_parallelism.gateway.udp_link import UdpLink
from variant_parallelism.wire import CHUNK_SIZE

GROUP = "239.77.80.2"


@pytest.fixture
def group() -> tuple[str, int]:
    """A multicast group on the loopback interface, at a port that nobody uses."""
    (port,) = free_ports(socket.SOCK_DGRAM, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        membership = socket.inet_aton(GROUP) + socket.inet_aton("127.0.0.1")
        try:
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        except OSError as error:
            pytest.skip(f"no multicast on the loopback interface ({error}): ip link set lo up")
    return GROUP, port


def test_one_datagram_a_chunk_reaches_every_node(tmp_path: Path, group: tuple[str, int]) -> None:
    async def test() -> None:
        network = {"gateway": "127.0.0.1", "multicast": f"{group[0]}:{group[1]}"}
        fleet = loopback_fleet([], udp=4, network=network)
        async with nodes_of(fleet, {}) as nodes, Gateway(fleet, state_dir=tmp_path) as gateway:
            for node in fleet.nodes:
                await nodes.join(node.id, group)
            await gateway.wait_for_nodes(4, 20)
            image = make_image(fleet)
            answer = await gateway.classify(image)
            assert [vote.node for vote in answer.votes] == [0, 1, 2, 3]
            for vote in answer.votes:
                assert vote.entries == entries_of(vote.node, image.tobytes(), 2, 10)
            chunks = -(-image.size // CHUNK_SIZE)
            assert gateway.counters.multicast >= chunks
            assert gateway.counters.chunks < 2 * chunks

    run(test)


def test_without_a_way_to_the_group_it_says_so_once_and_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        network = {"gateway": "192.0.2.1", "multicast": f"{GROUP}:47801"}
        fleet = loopback_fleet([], udp=2, network=network)
        async with nodes_of(fleet, {}), Gateway(fleet, state_dir=tmp_path) as gateway:
            await gateway.wait_for_nodes(2, 20)
            answer = await gateway.classify(make_image(fleet))
            assert len(answer.votes) == 2
            assert gateway.counters.multicast == 0

    with caplog.at_level(logging.WARNING):
        run(test)
    assert [record.getMessage() for record in caplog.records] == [
        "no multicast, every node gets its input by itself: "
        "192.0.2.1 is no address of this machine; see [network] gateway"
    ]


class _Deaf:
    gate = Gate(1, 10, 1)

    def on_datagram(self, node_id: int | None, data: bytes) -> None: ...
    def on_socket(self, socket: int) -> None: ...


def test_the_socket_sends_to_its_own_network_alone() -> None:
    async def test() -> None:
        link = UdpLink(_Deaf())
        await link.bind("127.0.0.1:0")
        assert link.use_group(f"{GROUP}:47801", "127.0.0.1") is None
        await link.start()
        bound = link._socket
        assert bound is not None
        assert bound.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL) == 1
        interface = bound.getsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, 4)
        assert interface == socket.inet_aton("127.0.0.1")
        await link.close()

    asyncio.run(test())


def test_an_ipv6_gateway_has_no_ipv4_group() -> None:
    async def test() -> None:
        link = UdpLink(_Deaf())
        await link.bind("[::1]:0")
        assert (
            link.use_group(f"{GROUP}:47801", "127.0.0.1") == "[gateway] listen is no IPv4 address"
        )
        await link.close()

    if not socket.has_ipv6 or not Path("/proc/sys/net/ipv6").exists():
        pytest.skip("this machine has no IPv6")
    asyncio.run(test())
