"""Whole boards on an emulated Ethernet: one stream for all of them, and every fault on the wire.

`SwitchedNetwork` is there for everybody. Where a network namespace can be had, this file runs once
more inside one, over a bridge of the kernel: the gateway's sockets then do real multicast.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from hil_bench import LARGE, ROOT, Bench, Running, noise
from variant_parallelism.emulators.faults import FaultRates, both_directions
from variant_parallelism.emulators.network.bridge import BridgedNetwork
from variant_parallelism.emulators.network.frames import Datagram, FrameError, read_frame
from variant_parallelism.emulators.network.lan import SwitchedNetwork
from variant_parallelism.emulators.network.namespace import in_private_namespace, run_privately
from variant_parallelism.emulators.network.pcapng import Captured, Reader
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.dispatch import WINDOW
from variant_parallelism.keys import group_key
from variant_parallelism.wire import CHUNK_SIZE, Input, WireError, decode

CHUNKS = LARGE[0] * LARGE[1] // CHUNK_SIZE
# Three chunks: quick, and enough for gaps.
SIDE = 36
MOST_IMAGES = 60
AGAIN_LIMIT_S = 150.0


@dataclass
class Wired:
    """A running fleet and its network."""

    running: Running
    network: SwitchedNetwork | BridgedNetwork
    reader: Reader

    def recorded(self) -> list[Captured]:
        """The frames since the last call."""
        self.network.flush()
        return self.reader.read()


@asynccontextmanager
async def wired(
    bench: Bench,
    nodes: int,
    folder: Path,
    *,
    unicast_only: Collection[int] = (),
    hello_ms: int = 1000,
) -> AsyncIterator[Wired]:
    """A fleet of UDP nodes on a network of its own."""
    recording = folder / "lan.pcapng"
    network: SwitchedNetwork | BridgedNetwork
    if in_private_namespace():
        network = BridgedNetwork(recording, unicast_only)
    else:
        network = SwitchedNetwork(bench.ports, recording, unicast_only)
    fleet = bench.fleet([(name, "udp") for name in bench.variants[:nodes]], hello_ms=hello_ms)
    async with network, bench.run(fleet, network=network) as running:
        yield Wired(running, network, Reader(recording))


def chunks(fleet: Fleet, captured: list[Captured]) -> list[tuple[Datagram, Input]]:
    """The chunks of images in recorded frames."""
    key = None if fleet.key is None else group_key(fleet.key, fleet.table.id)
    found = []
    for item in captured:
        try:
            content = read_frame(item.frame)
            if isinstance(content, Datagram):
                _, body = decode(content.payload, key, len(fleet.manifest.classes))
                if isinstance(body, Input) and body.data:
                    found.append((content, body))
        except (FrameError, WireError):
            continue
    return found


def by_multicast(fleet: Fleet, captured: list[Captured]) -> list[Input]:
    return [body for datagram, body in chunks(fleet, captured) if datagram.destination.is_multicast]


def longest_burst(fleet: Fleet, captured: list[Captured], interface: str) -> int:
    """Most chunks in a row that reached a node without a word from it in between."""
    longest = burst = 0
    for item in captured:
        if item.interface == interface:
            burst = 0 if item.inbound else burst + len(chunks(fleet, [item]))
            longest = max(longest, burst)
    return longest


def sent_by_gateway(captured: list[Captured]) -> list[Captured]:
    return [item for item in captured if item.interface == "gateway" and item.inbound]


def received(captured: list[Captured], node: int) -> list[Captured]:
    return [item for item in captured if item.interface == f"node-{node}" and not item.inbound]


async def undisturbed(
    it: Wired, nodes: int, copies: int, in_step: Collection[int] = ()
) -> AsyncIterator[list[Captured]]:
    """Frames of three images whose chunks went out `copies` times each, to whomever.

    A board that a busy host stops for a few milliseconds misses chunks, and the gateway repeats
    them, or goes on without it, and it overhears more chunks than the window has: images of which
    a node of `in_step` did so do not count. All must be answered all the same.
    """
    fleet = it.running.fleet
    found = 0
    for seed in range(MOST_IMAGES):
        it.recorded()
        answer = await it.running.classify(noise(seed, *LARGE))
        assert len(answer.votes) == nodes, answer.errors
        captured = it.recorded()
        bursts = [longest_burst(fleet, captured, f"node-{node}") for node in in_step]
        once = len(chunks(fleet, sent_by_gateway(captured))) == copies * CHUNKS
        if once and max(bursts, default=0) <= WINDOW:
            found += 1
            yield captured
        if found == 3:
            return
    raise AssertionError(f"{found} of {MOST_IMAGES} images went out undisturbed")


async def test_one_stream_reaches_every_node(large_bench: Bench, tmp_path: Path) -> None:
    async with wired(large_bench, 5, tmp_path) as it:
        fleet = it.running.fleet
        async for captured in undisturbed(it, nodes=5, copies=1, in_step=range(1, 6)):
            once = [body.chunk for body in by_multicast(fleet, sent_by_gateway(captured))]
            assert sorted(once) == list(range(CHUNKS))
            for node in range(1, 6):
                got = by_multicast(fleet, received(captured, node))
                assert [body.chunk for body in got] == once


async def test_nodes_with_and_without_multicast_in_one_fleet(
    large_bench: Bench, tmp_path: Path
) -> None:
    async with wired(large_bench, 4, tmp_path, unicast_only=[2, 4]) as it:
        running, fleet = it.running, it.running.fleet
        assert [running.hello(node).multicast for node in range(1, 5)] == [True, False] * 2
        async for captured in undisturbed(it, nodes=4, copies=3):
            sent = chunks(fleet, sent_by_gateway(captured))
            to = Counter(datagram.destination for datagram, _ in sent)
            group, _ = it.network.group
            assert to.pop(group) == CHUNKS and sorted(to.values()) == [CHUNKS, CHUNKS]
            # The bridge snoops on IGMP: it forwards a group to its members alone.
            elsewhere = CHUNKS if isinstance(it.network, SwitchedNetwork) else 0
            heard = [len(by_multicast(fleet, received(captured, node))) for node in range(1, 5)]
            assert heard == [CHUNKS, elsewhere] * 2


async def test_cut_cable_is_a_dead_node_that_comes_back(large_bench: Bench, tmp_path: Path) -> None:
    async with wired(large_bench, 3, tmp_path, hello_ms=200) as it:
        running = it.running
        request = running.gateway.classify(noise(1, *LARGE))
        it.network.cut(2)
        answer = await request
        assert [vote.node for vote in answer.votes] == [1, 3] and answer.missing == (2,)
        status = await running.until_state(2, "dead")
        assert "silent" in status.reason
        answer = await running.classify(noise(2, SIDE, SIDE))
        assert [vote.node for vote in answer.votes] == [1, 3]
        it.network.restore(2)
        await running.until_state(2, "up")
        answer = await running.classify(noise(3, *LARGE))
        assert [vote.node for vote in answer.votes] == [1, 2, 3]


# A frame that meets no fault of its own cable can still meet one of the gateway's.
ON_THE_WIRE = {
    "drop": FaultRates(drop=0.15),
    "corrupt": FaultRates(corrupt=0.15),
    "truncate": FaultRates(truncate=0.15),
    "duplicate": FaultRates(duplicate=0.5),
    "reorder": FaultRates(reorder=0.3),
    "delay": FaultRates(delay=0.4),
    "all": FaultRates(
        drop=0.05, corrupt=0.05, truncate=0.05, duplicate=0.05, reorder=0.05, delay=0.05
    ),
}


async def ask_until(running: Running, nodes: int, enough: Callable[[], bool]) -> None:
    """Classify, every node answering each image bit for bit, until there is `enough`."""
    for seed in range(MOST_IMAGES):
        answer = await running.classify(noise(seed, SIDE, SIDE))
        assert len(answer.votes) == nodes, (seed, answer.errors)
        if enough():
            return
    raise AssertionError(f"{MOST_IMAGES} images have not been enough")


def noticeable(captured: list[Captured]) -> set[str]:
    """Interfaces where a damaged frame arrived that its station takes for one of its own."""
    arrived = [item for item in captured if not item.inbound]
    addresses = {(item.interface, item.frame[:6]) for item in arrived if not item.remark}
    found = set()
    for item in arrived:
        if item.remark.startswith(("corrupt", "truncate")):
            try:
                read_frame(item.frame)
            except FrameError:
                if (item.interface, item.frame[:6]) in addresses and len(item.frame) >= 14:
                    found.add(item.interface)
    return found


@pytest.mark.parametrize("fault", ON_THE_WIRE)
async def test_faults_on_every_cable_both_ways(
    large_bench: Bench, tmp_path: Path, fault: str
) -> None:
    kinds = {name for name in ON_THE_WIRE if name != "all"} if fault == "all" else {fault}
    damages = kinds <= {"corrupt", "truncate"}
    async with wired(large_bench, 2, tmp_path) as it:
        assert isinstance(it.network, SwitchedNetwork)
        cables = {cable.name: cable for cable in [it.network.gateway, *it.network.nodes.values()]}
        for seed, cable in enumerate(cables.values()):
            cable.schedules = both_directions(ON_THE_WIRE[fault], seed)
        captured: list[Captured] = []

        def met() -> set[tuple[str, bool, str]]:
            captured.extend(it.recorded())
            faulty = [item for item in captured if item.remark]
            return {(item.interface, item.inbound, item.remark.split(":")[0]) for item in faulty}

        expected = {(name, way, kind) for name in cables for way in (True, False) for kind in kinds}
        await ask_until(
            it.running,
            2,
            lambda: met() >= expected and (not damages or noticeable(captured) == set(cables)),
        )
        assert met() == expected
        assert by_multicast(it.running.fleet, sent_by_gateway(captured))
        assert it.running.gateway.counters.lost == 0
        if damages:
            assert it.network.host.damaged > 0
            for cable in cables.values():
                cable.schedules = {}
            for node in (1, 2):
                await it.running.until(
                    lambda node=node: it.running.hello(node).damaged > 0,
                    f"node {node}'s count of damaged frames",
                )


ON_ANY_NETWORK = (
    test_one_stream_reaches_every_node,
    test_nodes_with_and_without_multicast_in_one_fleet,
    test_cut_cable_is_a_dead_node_that_comes_back,
)


def test_the_same_on_a_bridge_with_the_gateways_own_multicast(
    emulator: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if emulator != "qemu":
        pytest.skip(f"{emulator} has no tap interfaces here")
    tests = [f"{__file__}::{test.__name__}" for test in ON_ANY_NETWORK]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
    command += ["--emulator", emulator, "--rootdir", str(ROOT)]
    try:
        run = run_privately(command, AGAIN_LIMIT_S)
    except VpError as error:
        pytest.skip(f"real multicast is not tried, only the switch's: {error}")
    with capsys.disabled():
        print(f"\nbridge in a network namespace, real multicast: {run.stdout.splitlines()[-1]}")
    assert run.returncode == 0, run.stdout
