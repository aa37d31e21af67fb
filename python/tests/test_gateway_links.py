"""The gateway on real sockets, ports and files of this machine."""

from __future__ import annotations

import asyncio
import os
import pty
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from fleet_factory import KEY, make_fleet, make_image
from loopback_nodes import loopback_fleet, nodes_of, run, tcp_url
from simulated_fleet import entries_of
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import GatewayTable, NodeTable
from variant_parallelism.gateway import Answered, Event, Gateway, NodeChanged
from variant_parallelism.gateway.serial_link import SerialLink, explain, open_port


@pytest.mark.parametrize("key", [KEY, None], ids=["keyed", "plain"])
def test_serial_and_udp_nodes_answer_together(tmp_path: Path, key: bytes | None) -> None:
    async def test() -> None:
        master, slave = pty.openpty()
        fleet = loopback_fleet([tcp_url(), os.ttyname(slave)], udp=2, key=key)
        async with nodes_of(fleet, {1: master}), Gateway(fleet, state_dir=tmp_path) as gateway:
            assert await gateway.wait_for_nodes(4, 20) == 4
            for seed in range(5):
                image = make_image(fleet, seed)
                answer = await gateway.classify(image, k=3)
                assert [vote.node for vote in answer.votes] == [0, 1, 2, 3]
                for vote in answer.votes:
                    assert vote.entries == entries_of(vote.node, image.tobytes(), 3, 10)
            assert gateway.counters.answers == 5
            assert [node.transport for node in gateway.nodes()] == ["serial"] * 2 + ["udp"] * 2
        os.close(master)
        os.close(slave)

    run(test)


def test_concurrent_requests(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = loopback_fleet([tcp_url()], udp=1)
        async with nodes_of(fleet, {}), Gateway(fleet, state_dir=tmp_path) as gateway:
            await gateway.wait_for_nodes(2, 20)
            images = [make_image(fleet, seed) for seed in range(12)]
            answers = await asyncio.gather(*(gateway.classify(image) for image in images))
            for image, answer in zip(images, answers, strict=True):
                assert len(answer.votes) == 2
                for vote in answer.votes:
                    assert vote.entries == entries_of(vote.node, image.tobytes(), 2, 10)

    run(test)


def test_a_port_that_closes_comes_back(tmp_path: Path) -> None:
    async def test() -> None:
        url = tcp_url()
        fleet = loopback_fleet([url], udp=1)
        events: list[Event] = []
        async with nodes_of(fleet, {}) as nodes, Gateway(fleet, state_dir=tmp_path) as gateway:
            gateway.on_event(events.append)
            await gateway.wait_for_nodes(2, 20)
            nodes.unplug(0)
            while gateway.nodes()[0].state != "dead":
                await asyncio.sleep(0.01)
            answer = await gateway.classify(make_image(fleet))
            assert (answer.missing, answer.class_index is None) == ((0,), False)
            await nodes.start_tcp(0, int(url.rpartition(":")[2]), boot=2)
            assert await gateway.wait_for_nodes(2, 20) == 2
            assert (await gateway.classify(make_image(fleet, 1))).missing == ()
        told = [
            event.state for event in events if isinstance(event, NodeChanged) and not event.node
        ]
        assert told[-1] == "up"
        assert "dead" in told

    run(test)


def test_every_link_is_decided_on_entering(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = loopback_fleet([], udp=3)
        unknown = fleet.nodes[2].model_copy(update={"udp": "nowhere.invalid:5000"})
        fleet = fleet.with_nodes([*fleet.nodes[:2], unknown], fleet.table.gateway)
        there = fleet.with_nodes(fleet.nodes[:2], fleet.table.gateway)
        async with nodes_of(there, {}), Gateway(fleet, state_dir=tmp_path) as gateway:
            assert await gateway.wait_until_settled(20) == 2
            status = gateway.nodes()[2]
            assert status.state == "dead"
            assert status.reason.startswith("nowhere.invalid:5000: ")

    run(test)


@pytest.mark.parametrize("host", ["a..b", "a" * 300, ".", "x" * 64 + ".org"])
def test_impossible_host_names_are_one_line(tmp_path: Path, host: str) -> None:
    async def test() -> None:
        fleet = loopback_fleet([], udp=2)
        odd = fleet.nodes[1].model_copy(update={"udp": f"{host}:5000"})
        odd_fleet = fleet.with_nodes([fleet.nodes[0], odd], fleet.table.gateway)
        there = fleet.with_nodes(fleet.nodes[:1], fleet.table.gateway)
        async with nodes_of(there, {}), Gateway(odd_fleet, state_dir=tmp_path) as gateway:
            assert await gateway.wait_until_settled(20) == 1
            status = gateway.nodes()[1]
            assert status.state == "dead"
            assert status.reason.startswith(f"{host}:5000: ")

        unheard = fleet.with_nodes(fleet.nodes, GatewayTable.model_construct(listen=f"{host}:1"))
        with pytest.raises(VpError, match=r"cannot listen on udp .*; see \[gateway\] listen"):
            async with Gateway(unheard, state_dir=tmp_path):
                raise AssertionError("opened")

    run(test)


def test_one_missing_port_does_not_stop_the_fleet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = SerialLink._call

    def and_pause(*arguments: Any) -> None:
        """A busy host may take the processor from a port's thread after each of its reports."""
        report(*arguments)
        time.sleep(0.05)

    monkeypatch.setattr(SerialLink, "_call", and_pause)

    async def test() -> None:
        missing = str(tmp_path / "ttyUSB9")
        fleet = loopback_fleet([missing], udp=1)
        async with nodes_of(fleet, {}), Gateway(fleet, state_dir=tmp_path) as gateway:
            assert await gateway.wait_until_settled(20) == 1
            status = gateway.nodes()[0]
            assert status.state == "dead"
            assert status.reason == f"{missing}: no such port; is the board plugged in?"
            assert len((await gateway.classify(make_image(fleet))).votes) == 1

    run(test)


def test_with_no_port_at_all_it_says_which(tmp_path: Path) -> None:
    async def test() -> None:
        urls = [str(tmp_path / "ttyUSB0"), tcp_url()]
        fleet = loopback_fleet(urls, udp=0)
        with pytest.raises(VpError) as error:
            async with Gateway(fleet, state_dir=tmp_path):
                raise AssertionError("opened")
        text = str(error.value)
        assert f"{urls[0]}: no such port" in text
        assert f"{urls[1]}: nothing listens there" in text
        assert "\n" not in text

    run(test)


def test_a_busy_port_is_named() -> None:
    master, slave = pty.openpty()
    name = os.ttyname(slave)
    first = open_port(name, 115200)
    try:
        with pytest.raises(OSError) as error:
            open_port(name, 115200)
        assert explain(name, error.value) == f"{name}: another program uses this port; close it"
    finally:
        first.close()
        os.close(master)
        os.close(slave)


@pytest.mark.parametrize("url", ["loop://?logging=x", "hwgrep://("])
def test_a_url_that_pyserial_stumbles_over(url: str) -> None:
    with pytest.raises(ValueError, match="no serial port or URL such as socket://host:port"):
        open_port(url, 115200)


def test_a_udp_port_in_use_is_named(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = loopback_fleet([], udp=1)
        host, port = fleet.table.gateway.listen.split(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind((host, int(port)))
            with pytest.raises(VpError, match=rf"udp {host}:{port}: another program uses"):
                async with Gateway(fleet, state_dir=tmp_path):
                    raise AssertionError("opened")

    run(test)


def test_emulated_nodes_need_vp_emulate() -> None:
    nodes = [NodeTable(id=1, variant="v1", board="mps2-an386", emulated="udp")]
    with pytest.raises(VpError, match=r"node 1 is emulated: run `vp emulate fleet\.toml`"):
        Gateway(make_fleet(nodes))


def test_with_nobody_there_the_deadline_says_so(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = loopback_fleet([], udp=2, deadline_ms=600_000)
        async with Gateway(fleet, state_dir=tmp_path) as gateway:
            answer = await gateway.classify(make_image(fleet), deadline_ms=100)
            assert answer.class_index is None
            assert answer.latency_ms >= 100
            assert gateway.counters.lost == 1

    run(test)


def test_datagrams_from_elsewhere_are_foreign(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = loopback_fleet([], udp=1)
        async with Gateway(fleet, state_dir=tmp_path) as gateway:
            host, port = fleet.table.gateway.listen.split(":")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
                stranger.bind(("127.0.0.1", 0))
                stranger.sendto(b"hello?", (host, int(port)))
                for fleet_id in (8, 7):
                    other = bytes([0x21, fleet_id]) + bytes(60)
                    stranger.sendto(other, (host, int(port)))
            while gateway.counters.messages_in < 3:
                await asyncio.sleep(0.01)
            counts = gateway.counters
            assert (counts.damaged, counts.foreign, counts.forged) == (1, 1, 1)

    run(test)


def test_a_caller_that_gives_up_leaves_nothing_behind(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = loopback_fleet([], udp=1)
        async with Gateway(fleet, state_dir=tmp_path) as gateway:
            asking = asyncio.create_task(gateway.classify(make_image(fleet), deadline_ms=200))
            await asyncio.sleep(0)
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            events: list[Event] = []
            gateway.on_event(events.append)
            answer = await gateway.classify(make_image(fleet), deadline_ms=400)
            ended = [event.answer for event in events if isinstance(event, Answered)]
            assert ended == [answer]
            assert gateway.counters.lost == 1

    run(test)


def test_the_node_of_a_caller_that_gives_up_goes_on_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = loopback_fleet([], udp=1)
        images = [make_image(fleet, seed) for seed in (0, 1)]
        async with nodes_of(fleet, {}) as nodes, Gateway(fleet, state_dir=tmp_path) as gateway:
            assert await gateway.wait_for_nodes(1, 20) == 1
            nodes.nodes[0].compute_s = 0.5
            node = gateway._core.nodes[0]
            first, second = (
                asyncio.create_task(gateway.classify(image, deadline_ms=20_000)) for image in images
            )
            while len(node.queue) < 1 or node.request is None:
                await asyncio.sleep(0)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert node.request is not None and node.request.data == images[1].tobytes()
            assert len((await second).votes) == 1

    run(test)


def test_the_port_is_free_again_on_leaving(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = loopback_fleet([], udp=1)
        for _ in range(3):
            async with Gateway(fleet, state_dir=tmp_path):
                pass
            host, port = fleet.table.gateway.listen.split(":")
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.bind((host, int(port)))

    run(test)


def test_leaving_ends_what_waits(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = loopback_fleet([], udp=1)
        async with Gateway(fleet, state_dir=tmp_path) as gateway:
            waiting = asyncio.create_task(gateway.classify(make_image(fleet)))
            await asyncio.sleep(0)
        with pytest.raises(VpError, match="was closed"):
            await waiting
        with pytest.raises(VpError, match="is closed"):
            await gateway.classify(make_image(fleet))

    run(test)


def test_requests_that_take_too_long_are_refused_at_the_end(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = loopback_fleet([], udp=1)
        async with nodes_of(fleet, {}) as nodes, Gateway(fleet, state_dir=tmp_path) as gateway:
            await gateway.wait_for_nodes(1, 20)
            nodes.nodes[0].compute_s = 0.1
            quick = asyncio.create_task(gateway.classify(make_image(fleet)))
            await asyncio.sleep(0)
            await gateway.drain(20)
            assert (await quick).missing == ()
            with pytest.raises(VpError, match="the gateway is stopping"):
                await gateway.classify(make_image(fleet))
        async with nodes_of(fleet, {}) as nodes, Gateway(fleet, state_dir=tmp_path) as gateway:
            await gateway.wait_for_nodes(1, 20)
            nodes.nodes[0].compute_s = 500.0
            slow = asyncio.create_task(gateway.classify(make_image(fleet)))
            await asyncio.sleep(0)
            await gateway.drain(0.05)
            with pytest.raises(VpError, match="the gateway is stopping"):
                await slow

    run(test)


def test_a_listener_with_a_mistake_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def mistaken(event: Event) -> None:
        raise KeyError("a mistake")

    async def test() -> None:
        fleet = loopback_fleet([], udp=1)
        events: list[Event] = []
        async with nodes_of(fleet, {}), Gateway(fleet, state_dir=tmp_path) as gateway:
            gateway.on_event(mistaken)
            gateway.on_event(events.append)
            assert await gateway.wait_for_nodes(1, 20) == 1
            assert (await gateway.classify(make_image(fleet))).missing == ()
        assert any(isinstance(event, Answered) for event in events)

    run(test)
    assert "a listener failed at an event" in caplog.text
