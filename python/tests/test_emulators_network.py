"""The emulated LAN: the switch, its faults and recordings, the gateway's machine."""

from __future__ import annotations

import asyncio
import itertools
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from variant_parallelism.emulators.board import BoardConfig
from variant_parallelism.emulators.faults import Direction, FaultRates, FaultSchedule
from variant_parallelism.emulators.network import host as host_module
from variant_parallelism.emulators.network.attachment import Attachment, DatagramPort, TapPort
from variant_parallelism.emulators.network.frames import (
    ARP_REPLY,
    ARP_REQUEST,
    BROADCAST,
    Arp,
    Datagram,
    multicast_mac,
    read_frame,
    write_arp,
    write_datagram,
)
from variant_parallelism.emulators.network.host import GatewayHost
from variant_parallelism.emulators.network.lan import (
    GATEWAY,
    GATEWAY_MAC,
    GROUP,
    NETMASK,
    SwitchedNetwork,
)
from variant_parallelism.emulators.network.pcapng import Captured, Recorder, read_recording
from variant_parallelism.emulators.network.switch import Port, Switch
from variant_parallelism.emulators.ports import LOOPBACK, PortPool
from variant_parallelism.emulators.qemu import QemuBoard
from variant_parallelism.firmware import load_board
from variant_parallelism.wire import Provision

NODE = IPv4Address("10.77.0.11")
NODE_MAC = bytes.fromhex("525400010001")
NODE_PORT = 5000
LIMIT_S = 20.0


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(LIMIT_S):
            await scenario()

    asyncio.run(limited())


def from_node(payload: bytes, port: int) -> bytes:
    datagram = Datagram(NODE, NODE_PORT, GATEWAY, port, payload)
    return write_datagram(GATEWAY_MAC, NODE_MAC, datagram, 1)


@pytest.fixture
def recorder(tmp_path: Path) -> Iterator[Recorder]:
    ticks = itertools.count(1_700_000_000_000_000_000, 1_000_001)
    with Recorder(tmp_path / "lan.pcapng", ticks.__next__) as recorder:
        yield recorder


class Station:
    """Something at the end of a cable that keeps what it gets."""

    def __init__(self, switch: Switch, number: int) -> None:
        self.mac = bytes([2, 0, 0, 0, 0, number])
        self.got: list[bytes] = []
        self.port = switch.add_port(f"port {number}", Direction.TO_NODE, self.got.append)

    def to(self, destination: bytes, text: str = "") -> bytes:
        frame = destination + self.mac + b"\x88\xb5" + text.encode().ljust(46)
        self.port.receive(frame)
        return frame


def test_switch_floods_what_it_does_not_know_and_learns() -> None:
    switch = Switch()
    a, b, c = (Station(switch, number) for number in range(3))
    first = a.to(b.mac)
    assert (a.got, b.got, c.got) == ([], [first], [first])
    answer = b.to(a.mac)
    assert (a.got, b.got, c.got) == ([answer], [first], [first])
    second = a.to(b.mac)
    assert (b.got, c.got) == ([first, second], [first])
    for group in (BROADCAST, multicast_mac(GROUP)):
        frame = c.to(group)
        assert a.got[-1] == b.got[-1] == frame and c.got[-1] != frame
    b.port.receive(bytes(13))
    assert len(a.got) == 3


def test_switch_follows_a_station_and_forgets_made_up_ones() -> None:
    switch = Switch()
    a, b, c = (Station(switch, number) for number in range(3))
    b.to(BROADCAST)
    c.mac = b.mac
    c.to(BROADCAST)
    frame = a.to(b.mac)
    assert frame in c.got and frame not in b.got
    for number in range(2000):
        b.port.receive(BROADCAST + b"\x06\0\0\0" + struct.pack("!H", number) + bytes(48))
    assert len(switch._port_of) == 1024
    frame = a.to(c.mac)
    assert frame in c.got and frame in b.got


EACH = FaultRates(
    drop=0.1, corrupt=0.1, truncate=0.1, duplicate=0.1, reorder=0.1, delay=0.1,
    reorder_s=0.001, delay_s=0.01,
)  # fmt: skip


async def through_faults(path: Path, seed: int) -> tuple[list[Captured], Port, list[bytes]]:
    """200 frames through two ports with faults: the recording, the sender's port, what arrived."""
    with Recorder(path, itertools.count().__next__) as recorder:
        switch = Switch(recorder)
        a, b = Station(switch, 1), Station(switch, 2)
        a.port.schedules = {Direction.TO_GATEWAY: FaultSchedule(EACH, seed)}
        b.port.schedules = {Direction.TO_NODE: FaultSchedule(EACH, seed + 1)}
        for number in range(200):
            a.to(b.mac, str(number))
            # Everything that is late arrives before the next: the order is the same in each run.
            while a.port.under_way or b.port.under_way:
                await asyncio.sleep(0.001)
        switch.close()
    return read_recording(path), a.port, b.got


def test_faults_are_decided_by_the_seed_and_recorded(tmp_path: Path) -> None:
    async def scenario() -> None:
        recording, port, got = await through_faults(tmp_path / "one", 5)
        again, _, got_again = await through_faults(tmp_path / "two", 5)
        other, _, _ = await through_faults(tmp_path / "three", 6)
        assert recording == again and got == got_again
        assert [item.remark for item in recording] != [item.remark for item in other]

        inbound = [item for item in recording if item.interface == "port 1"]
        assert all(item.inbound for item in inbound)
        kinds = Counter(item.remark.partition(":")[0] for item in inbound)
        counts = port.schedules[Direction.TO_GATEWAY].counts
        assert kinds == {
            "" if fault == "intact" else fault: count * (2 if fault == "duplicate" else 1)
            for fault, count in counts.items()
        }
        assert min(kinds.values()) > 5 and len(kinds) == 7
        # What left the switch and was not dropped there is what the station got.
        outbound = [item for item in recording if item.interface == "port 2"]
        assert not any(item.inbound for item in outbound)
        assert [item.frame for item in outbound if item.remark != "drop"] == got
        for item in inbound:
            if item.remark.startswith("corrupt"):
                flips = item.remark.removeprefix("corrupt: bytes ").split(", ")
                original = bytearray(item.frame)
                for flip in flips:
                    place, bits = flip.split("^")
                    original[int(place)] ^= int(bits, 16)
                assert bytes(original) in [frame for _, frame in port.log]

    run(scenario)


def test_cut_cable_carries_nothing_until_it_is_back(recorder: Recorder) -> None:
    async def scenario() -> None:
        switch = Switch(recorder)
        a, b = Station(switch, 1), Station(switch, 2)
        late = FaultRates(delay=1.0, delay_s=0.01)
        b.port.schedules = {Direction.TO_NODE: FaultSchedule(late, 1)}
        a.to(b.mac, "under way")
        b.port.cut()
        a.to(b.mac, "lost")
        b.to(a.mac, "lost, too")
        await asyncio.sleep(0.05)
        assert (a.got, b.got) == ([], [])
        b.port.schedules = {}
        b.port.restore()
        frame = a.to(b.mac, "back")
        assert b.got == [frame]
        recorder.close()
        remarks = [item.remark for item in read_recording(recorder.path)]
        assert remarks == ["", "", "cut", "cut", "cut", "", ""]

    run(scenario)


class Program(asyncio.DatagramProtocol):
    """The gateway: a socket on the loopback interface."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[tuple[bytes, tuple[str, int]]] = asyncio.Queue()

    def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
        self.received.put_nowait((data, source))


async def program() -> tuple[asyncio.DatagramTransport, Program, int]:
    loop = asyncio.get_running_loop()
    opened, heard = await loop.create_datagram_endpoint(Program, local_addr=(LOOPBACK, 0))
    return opened, heard, opened.get_extra_info("sockname")[1]


async def frames_on(lan: list[bytes], count: int) -> list[Arp | Datagram | None]:
    while len(lan) < count:
        await asyncio.sleep(0.001)
    return [read_frame(frame) for frame in lan]


def test_host_asks_for_a_node_and_sends_what_waited() -> None:
    async def scenario() -> None:
        lan: list[bytes] = []
        host = GatewayHost(GATEWAY, GATEWAY_MAC, lan.append)
        opened, heard, port = await program()
        endpoint = host.add_node(NODE, NODE_PORT)
        for number in range(20):
            opened.sendto(b"input %d" % number, endpoint)
        (asked,) = await frames_on(lan, 1)
        assert asked == Arp(ARP_REQUEST, GATEWAY_MAC, GATEWAY, bytes(6), NODE)
        assert lan[0][:6] == BROADCAST
        await asyncio.sleep(0.02)
        host.receive(write_arp(GATEWAY_MAC, Arp(ARP_REPLY, NODE_MAC, NODE, GATEWAY_MAC, GATEWAY)))
        _, *sent = await frames_on(lan, 17)
        assert sent == [
            Datagram(GATEWAY, port, NODE, NODE_PORT, b"input %d" % number)
            for number in range(4, 20)
        ]
        assert all(frame[:12] == NODE_MAC + GATEWAY_MAC for frame in lan[1:])

        host.receive(from_node(b"answer", port))
        assert await heard.received.get() == (b"answer", endpoint)
        host.receive(write_arp(BROADCAST, Arp(ARP_REQUEST, NODE_MAC, NODE, bytes(6), GATEWAY)))
        *_, reply = await frames_on(lan, 18)
        assert reply == Arp(ARP_REPLY, GATEWAY_MAC, GATEWAY, NODE_MAC, NODE)
        opened.close()
        host.close()

    run(scenario)


def test_host_drops_what_is_damaged_or_not_for_it() -> None:
    async def scenario() -> None:
        lan: list[bytes] = []
        host = GatewayHost(GATEWAY, GATEWAY_MAC, lan.append)
        opened, heard, port = await program()
        host.add_node(NODE, NODE_PORT)
        good = from_node(b"good", port)
        host.receive(good[:-20])
        host.receive(good[:44] + b"?" + good[45:])
        assert host.damaged == 2
        host.receive(multicast_mac(GROUP) + good[6:])
        host.receive(NODE_MAC + good[6:])
        stranger = Datagram(NODE + 1, NODE_PORT, GATEWAY, port, b"stranger")
        elsewhere = Datagram(NODE, NODE_PORT, GATEWAY + 1, port, b"elsewhere")
        for datagram in (stranger, elsewhere):
            host.receive(write_datagram(GATEWAY_MAC, NODE_MAC, datagram, 1))
        other = Arp(ARP_REQUEST, NODE_MAC, NODE, bytes(6), GATEWAY + 1)
        host.receive(write_arp(BROADCAST, other))
        host.receive(good)
        assert (await heard.received.get())[0] == b"good"
        assert heard.received.empty() and lan == [] and host.damaged == 2
        opened.close()
        host.close()

    run(scenario)


def test_host_goes_on_asking_for_a_node_that_it_only_hears(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "_ARP_RETRY_S", 0.01)

    async def scenario() -> None:
        lan: list[bytes] = []
        host = GatewayHost(GATEWAY, GATEWAY_MAC, lan.append)
        opened, _, port = await program()
        endpoint = host.add_node(NODE, NODE_PORT)
        host.receive(from_node(b"the answer before this was lost", port))
        for asked in range(1, 4):
            opened.sendto(b"input", endpoint)
            assert len(await frames_on(lan, asked)) == asked
            await asyncio.sleep(0.02)
        opened.close()
        host.close()

    run(scenario)


def test_host_unlearns_a_wrong_mac(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_module, "_ARP_AGE_S", 0.05)
    monkeypatch.setattr(host_module, "_ARP_RETRY_S", 0.01)

    async def scenario() -> None:
        lan: list[bytes] = []
        host = GatewayHost(GATEWAY, GATEWAY_MAC, lan.append)
        opened, _, _ = await program()
        endpoint = host.add_node(NODE, NODE_PORT)
        wrong = b"\x02" + NODE_MAC[1:]
        for mac in (wrong, NODE_MAC):
            host.receive(write_arp(GATEWAY_MAC, Arp(ARP_REPLY, mac, NODE, GATEWAY_MAC, GATEWAY)))
            opened.sendto(b"input", endpoint)
            await frames_on(lan, 1)
            assert lan.pop()[:6] == mac
            await asyncio.sleep(0.06)
            opened.sendto(b"silence", endpoint)
            asked, _ = await frames_on(lan, 2)
            assert asked == Arp(ARP_REQUEST, GATEWAY_MAC, GATEWAY, bytes(6), NODE)
            lan.clear()
        opened.close()
        host.close()

    run(scenario)


def test_network_joins_boards_and_gateway_and_multicasts_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        recording = tmp_path / "lan.pcapng"
        async with SwitchedNetwork(PortPool(), recording, unicast_only=[2]) as lan:
            attachments = [lan.attach(node, NODE_PORT) for node in (1, 2)]
            boards = []
            for attachment in attachments:
                assert isinstance(attachment.port, DatagramPort)
                board = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                board.settimeout(LIMIT_S)
                board.bind(attachment.port.board)
                boards.append(board)
            assert [attachment.group for attachment in attachments] == [lan.group, None]
            opened, heard, port = await program()
            plug = opened.get_extra_info("socket")
            plug.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, IPv4Address(LOOPBACK).packed)
            group, group_port = lan.group
            opened.sendto(b"to all", (str(group), group_port))
            expected = Datagram(GATEWAY, port, group, group_port, b"to all")
            for board in boards:
                frame = await asyncio.to_thread(board.recv, 2000)
                assert frame[:6] == multicast_mac(group) and read_frame(frame) == expected
            boards[0].sendto(from_node(b"answer", port), attachments[0].port.switch)
            boards[1].sendto(from_node(b"wrong cable", port), attachments[0].port.switch)
            assert (await heard.received.get())[0] == b"answer"
            opened.close()
            for board in boards:
                board.close()
        captured = read_recording(recording)
        assert [(item.interface, item.inbound) for item in captured] == [
            ("gateway", True), ("node-1", False), ("node-2", False),
            ("node-1", True), ("gateway", False),
        ]  # fmt: skip

    run(scenario)


@pytest.mark.parametrize(
    ("port", "options"),
    [
        (
            DatagramPort(board=(LOOPBACK, 20001), switch=(LOOPBACK, 40001)),
            "-netdev dgram,id=lan,local.type=inet,local.host=127.0.0.1,local.port=20001,"
            "remote.type=inet,remote.host=127.0.0.1,remote.port=40001 "
            "-net nic,netdev=lan,model=lan9118,macaddr=52:54:00:01:00:01",
        ),
        (
            TapPort("node-1"),
            "-nic tap,ifname=node-1,script=no,downscript=no,model=lan9118,mac=52:54:00:01:00:01",
        ),
    ],
)
def test_qemu_is_plugged_into_the_port(
    port: DatagramPort | TapPort, options: str, tmp_path: Path
) -> None:
    attachment = Attachment(port, "127.0.0.1:30000", NODE, NETMASK, GATEWAY, (GROUP, 47801))
    board = QemuBoard(
        BoardConfig(
            node=1,
            board=load_board("mps2-an386"),
            image=tmp_path / "image.elf",
            transport="udp",
            port=0,
            provision=Provision(fleet=1, node=1, boot=0, mac=NODE_MAC),
            next_boot=lambda: 256,
            workdir=tmp_path,
            attachment=attachment,
        )
    )
    assert options in " ".join(board.command(3))
    assert board.udp_endpoint == "127.0.0.1:30000"
