"""Forged, replayed and foreign messages, and two fleets on one machine."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from hil_bench import KEY, Bench, Running
from variant_parallelism.emulators.faults import Direction, SerialLink, UdpLink
from variant_parallelism.keys import group_key, node_key
from variant_parallelism.training.datasets import Dataset
from variant_parallelism.wire import (
    ALL_NODES,
    SEQUENCE_BITS,
    Input,
    Prediction,
    encode,
    frame,
)

TRANSPORTS = ("serial", "udp")
OTHER_KEY = bytes(reversed(range(32)))


def on_wire(running: Running, node: int, message: bytes) -> bytes:
    return frame(message) if isinstance(running.links[node], SerialLink) else message


async def rejected(running: Running, node: int, more_than: int) -> int:
    """The node's count of forged, replayed and foreign messages, once it exceeds `more_than`."""

    def enough() -> bool:
        return running.hello(node).rejected > more_than

    await running.until(enough, "the node's count of rejected messages")
    return running.hello(node).rejected


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_forged_messages_are_dropped_and_counted(
    bench: Bench, digits: Dataset, transport: str
) -> None:
    fleet = bench.fleet([("d12", transport)])
    async with bench.run(fleet, linked=True) as running:
        link = running.links[1]
        image = digits.test_images[0]
        true = await running.classify(image)
        high = 1 << 23 << SEQUENCE_BITS
        lie = Prediction(true.request + 1 & 0xFFFF, 1.0, ((9, 127), (8, -128)))
        asked = true.request + 1000 & 0xFFFF
        question = Input(asked, 2, True, 8, 8, 1, 0, image.tobytes())
        keys = {"none": None, "wrong": node_key(OTHER_KEY, 1, 1), "group": group_key(KEY, 1)}
        for number, key in enumerate(keys.values()):
            message = encode(lie, fleet=1, node=1, counter=high + number, key=key, classes=10)
            link.inject(Direction.TO_GATEWAY, on_wire(running, 1, message))
        for number, key in enumerate((None, group_key(OTHER_KEY, 1), OTHER_KEY)):
            for node in (1, ALL_NODES):
                message = encode(question, fleet=1, node=node, counter=high + number, key=key)
                link.inject(Direction.TO_NODE, on_wire(running, 1, message))
        assert await rejected(running, 1, 5) == 6
        assert running.gateway.counters.forged == 3
        # The node handles messages in turn: its count of the last of these is its last word on all.
        for _, body in running.heard(1):
            assert getattr(body, "request", None) != asked, "the node answered a forged message"
        again = await running.classify(image)
        assert again.votes[0].entries == true.votes[0].entries


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_replayed_messages_are_dropped_and_counted(
    bench: Bench, digits: Dataset, transport: str
) -> None:
    fleet = bench.fleet([("d12", transport)])
    async with bench.run(fleet, linked=True) as running:
        link = running.links[1]
        # A HELLO from before the gateway listened was lost: new to it, not a replay.
        begin = len(link.log)
        for image in digits.test_images[:3]:
            await running.classify(image)
        recorded = link.log[begin:]
        for direction, data in recorded:
            link.inject(direction, data)
        to_gateway = sum(direction is Direction.TO_GATEWAY for direction, _ in recorded)
        gateway = running.gateway
        await running.until(lambda: gateway.counters.replayed == to_gateway, "all replays counted")
        assert await rejected(running, 1, 2) >= 3

        def own_duplicates() -> int:
            # A node on a busy host answers again, if it was asked again before its answer came.
            return sum(isinstance(body, Prediction) for _, body in running.heard(1)) - 3

        await running.until(
            lambda: gateway.counters.duplicate == own_duplicates(), "no other duplicates"
        )
        counters = gateway.counters
        assert (counters.late, counters.answers, counters.replayed) == (0, 3, to_gateway)
        assert len((await running.classify(digits.test_images[3])).votes) == 1


async def test_recording_of_an_earlier_boot_is_refused_after_a_reset(
    bench: Bench, digits: Dataset
) -> None:
    """A reset node forgets which sequences it heard; the gateway must not forget the node's."""
    fleet = bench.fleet([("d12", "udp")])
    async with bench.run(fleet, linked=True) as running:
        link = running.links[1]
        await running.classify(digits.test_images[0])
        recorded = [data for way, data in link.log if way is Direction.TO_GATEWAY]
        boot = running.boots(1)[-1]
        running.boards[1].reset()
        await running.until(lambda: running.boots(1)[-1] > boot, "a message of the next boot")
        await running.until_state(1, "up")
        before = running.gateway.counters.replayed
        for data in recorded:
            link.inject(Direction.TO_GATEWAY, data)
        await running.until(
            lambda: running.gateway.counters.replayed >= before + len(recorded), "counted replays"
        )
        assert len((await running.classify(digits.test_images[1])).votes) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("keys", [(KEY, OTHER_KEY), (KEY, KEY), (None, None)], ids=str)
async def test_two_fleets_on_one_machine_do_not_hear_each_other(
    bench: Bench, digits: Dataset, transport: str, keys: tuple[bytes | None, bytes | None]
) -> None:
    """Even if all of one fleet's traffic is also sent to the other's boards and gateway."""
    nodes = [("d8", transport), ("d12", transport)]
    one, two = (
        bench.fleet(nodes, fleet_id=number, key=key) for number, key in enumerate(keys, start=1)
    )
    async with bench.run(one, linked=True) as first, bench.run(two, linked=True) as second:
        # Booting the second keeps the loop from hearing the first.
        for node in (1, 2):
            await first.until_state(node, "up")
        sent = {id(first): 0, id(second): 0}

        def cross(source: Running, target: Running) -> None:
            for node, link in source.links.items():
                sent[id(target)] += len(source.heard(node))
                for direction, data in list(link.log):
                    target.links[node].inject(direction, data)

        for number in range(4):
            images = digits.test_images[2 * number : 2 * number + 2]
            answers = await asyncio.gather(
                *(
                    fleet.classify(image)
                    for fleet, image in zip((first, second), images, strict=True)
                )
            )
            assert all(len(answer.votes) == 2 for answer in answers)
        cross(first, second)
        cross(second, first)
        for fleet in (first, second):
            gateway, wanted = fleet.gateway, sent[id(fleet)]
            await fleet.until(
                lambda gateway=gateway, wanted=wanted: gateway.counters.foreign >= wanted,
                "all messages of the other fleet counted as foreign",
            )
            for node in (1, 2):
                await rejected(fleet, node, 3)
            counters = gateway.counters
            assert counters.forged == counters.replayed == counters.late == 0
            assert len((await fleet.classify(digits.test_images[9])).votes) == 2


async def test_node_with_another_fleets_key_never_takes_part(
    bench: Bench, digits: Dataset, tmp_path: Path
) -> None:
    """Same fleet id, node id and address, other key: every word of the board is a forgery."""
    ours = bench.fleet([("d8", "udp"), ("d12", "serial")])
    async with bench.run(ours, linked=[1]) as running:
        theirs = bench.fleet([("d8", "udp")], key=OTHER_KEY)
        link = running.links[1]
        assert isinstance(link, UdpLink)
        # The link carries what the intruder says to the gateway from the address of node 1.
        through = {1: link.node_side_port}
        async with bench.launch(theirs, tmp_path, reply_ports=through):

            def forged() -> int:
                return running.status(1).counters.forged

            await running.until(lambda: forged() >= 2, "the intruder's HELLOs counted")
            answer = await running.classify(digits.test_images[0])
            assert [vote.node for vote in answer.votes] == [1, 2]
            running.boards[1].kill()
            before = forged()
            await running.until(lambda: forged() >= before + 5, "more of its HELLOs")
            await running.until_state(1, "dead")
            answer = await running.classify(digits.test_images[1])
            assert [vote.node for vote in answer.votes] == [2] and answer.missing == (1,)
        assert running.gateway.counters.foreign == 0
