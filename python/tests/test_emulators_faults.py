"""The proxies that damage links: what passes, what does not, and that a seed decides it."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from variant_parallelism.emulators.faults import (
    Direction,
    FaultRates,
    FaultSchedule,
    SerialLink,
    UdpLink,
    both_directions,
)
from variant_parallelism.emulators.ports import LOOPBACK, PortPool

MESSAGES = [bytes([i % 255 + 1]) * (5 + i % 40) + b"\0" for i in range(400)]
ALL = FaultRates(
    drop=0.1, corrupt=0.1, truncate=0.1, duplicate=0.1, reorder=0.1, delay=0.1,
    reorder_s=0.002, delay_s=0.01,
)  # fmt: skip


def delivered(seed: int) -> list[list[tuple[float, bytes]]]:
    schedule = FaultSchedule(ALL, seed)
    return [schedule.apply(message).deliveries for message in MESSAGES]


def test_schedule_is_decided_by_its_seed() -> None:
    assert delivered(1) == delivered(1)
    assert delivered(1) != delivered(2)


def test_each_fault_does_what_it_says() -> None:
    schedule = FaultSchedule(ALL, 3)
    for message in MESSAGES:
        before = Counter(schedule.counts)
        verdict = schedule.apply(message)
        result = verdict.deliveries
        (fault,) = Counter(schedule.counts) - before
        assert fault == verdict.fault
        match fault:
            case "intact":
                assert result == [(0.0, message)]
            case "drop":
                assert result == []
            case "corrupt":
                ((wait, data),) = result
                flipped = sum((a ^ b).bit_count() for a, b in zip(data, message, strict=True))
                assert wait == 0 and 1 <= flipped <= 3
            case "truncate":
                ((wait, data),) = result
                assert len(data) < len(message) and message.startswith(data)
            case "duplicate":
                assert [data for _, data in result] == [message, message]
            case _:
                ((wait, data),) = result
                assert data == message and 0 <= wait <= 0.01
    assert all(20 <= schedule.counts[name] <= 70 for name in vars(ALL) if not name.endswith("_s"))


async def echo_server(port: int) -> asyncio.Server:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    return await asyncio.start_server(serve, LOOPBACK, port)


def test_serial_link_carries_frames_hangs_up_and_lets_in_again() -> None:
    async def scenario() -> None:
        pool = PortPool()
        node_port, port = pool.take(), pool.take()
        async with await echo_server(node_port), SerialLink(node_port, port) as link:
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(b"one\0tw")
            assert await reader.readexactly(4) == b"one\0"
            writer.write(b"o\0")
            assert await reader.readexactly(4) == b"two\0"
            link.inject(Direction.TO_GATEWAY, b"forged\0")
            assert await reader.readexactly(7) == b"forged\0"
            assert [frame for way, frame in link.log if way is Direction.TO_NODE] == [
                b"one\0",
                b"two\0",
            ]
            link.cut()
            assert await reader.read() == b""
            writer.close()
            refused, writer = await asyncio.open_connection(LOOPBACK, port)
            assert await refused.read() == b""
            writer.close()
            link.restore()
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.write(b"back\0")
            assert await reader.readexactly(5) == b"back\0"
            writer.close()

    asyncio.run(scenario())


def test_serial_link_closes_when_the_board_is_gone() -> None:
    async def scenario() -> None:
        pool = PortPool()
        port = pool.take()
        async with SerialLink(pool.take(), port):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            assert await reader.read() == b""
            writer.close()

    asyncio.run(scenario())


class Recorder(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: asyncio.Queue[tuple[bytes, int]] = asyncio.Queue()

    def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
        self.received.put_nowait((data, source[1]))


def test_udp_link_shows_each_side_one_address() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        pool = PortPool()
        gateway_port, node_port, port, node_side = (pool.take() for _ in range(4))
        gateway, gateway_says = await loop.create_datagram_endpoint(
            Recorder, local_addr=(LOOPBACK, gateway_port)
        )
        node, node_says = await loop.create_datagram_endpoint(
            Recorder, local_addr=(LOOPBACK, node_port)
        )
        link = UdpLink((LOOPBACK, node_port), (LOOPBACK, gateway_port), port, node_side)
        async with link:
            gateway.sendto(b"input", (LOOPBACK, port))
            assert await node_says.received.get() == (b"input", node_side)
            node.sendto(b"answer", (LOOPBACK, node_side))
            assert await gateway_says.received.get() == (b"answer", port)
            link.cut()
            gateway.sendto(b"lost", (LOOPBACK, port))
            while len(link.log) < 3:
                await asyncio.sleep(0.001)
            link.restore()
            gateway.sendto(b"again", (LOOPBACK, port))
            assert await node_says.received.get() == (b"again", node_side)
        gateway.close()
        node.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("seed", [1, 2])
def test_udp_link_delivers_what_its_schedule_says(seed: int) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        pool = PortPool()
        node_port, port = pool.take(), pool.take()
        node, node_says = await loop.create_datagram_endpoint(
            Recorder, local_addr=(LOOPBACK, node_port)
        )
        sender, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=(LOOPBACK, 0)
        )
        schedules = both_directions(ALL, seed)
        expected = FaultSchedule(ALL, 2 * seed)
        sent = MESSAGES[:100]
        wanted = Counter(data for message in sent for _, data in expected.apply(message).deliveries)
        link = UdpLink((LOOPBACK, node_port), (LOOPBACK, 9), port, pool.take(), schedules)
        async with link:
            for number, message in enumerate(sent, start=1):
                sender.sendto(message, (LOOPBACK, port))
                while len(link.log) < number:
                    await asyncio.sleep(0)
            got = Counter([(await node_says.received.get())[0] for _ in range(wanted.total())])
        assert got == wanted
        assert schedules[Direction.TO_NODE].counts == expected.counts
        node.close()
        sender.close()

    asyncio.run(asyncio.wait_for(scenario(), 60))
