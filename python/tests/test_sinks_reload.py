"""Sinks that change while a gateway runs."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from free_ports import free_ports
from loopback_nodes import loopback_fleet, nodes_of, run
from mosquitto_broker import Listener, needs_mosquitto, running
from sink_events import answered, disk_full_at, until
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway import Gateway, NodeChanged, Warned
from variant_parallelism.gateway.sinks import make_sinks
from variant_parallelism.gateway.sinks.spool import Backlog, Record
from variant_parallelism.sinks_table import SinksTable


def with_sinks(fleet: Fleet, folder: Path, sinks: dict[str, Any]) -> Fleet:
    table = fleet.table.model_copy(update={"sinks": SinksTable.model_validate(sinks)})
    return replace(fleet, path=folder / "fleet.toml", table=table)


def texts(path: Path) -> list[str]:
    lines = [json.loads(line) for line in path.open()]
    return [line["text"] for line in lines if line["event"] == "warning"]


def test_a_refused_reload_leaves_the_names_of_nodes(tmp_path: Path) -> None:
    async def test() -> None:
        plain = loopback_fleet([], udp=2)
        fleet = with_sinks(plain, tmp_path, {"jsonl": {"path": "a"}})
        nodes = [node.model_copy(update={"variant": "v0"}) for node in plain.nodes]
        renamed = plain.with_nodes(nodes, plain.table.gateway)
        impossible = {"jsonl": {"path": "a"}, "sqlite": {"path": "no/such/file"}}
        async with (
            Gateway(plain, state_dir=tmp_path) as gateway,
            make_sinks(gateway, fleet) as sinks,
        ):
            with pytest.raises(VpError):
                await sinks.reload(with_sinks(renamed, tmp_path, impossible))
            sinks.listen(NodeChanged(1, "dead", "first"))
            await until(lambda: "first" in (tmp_path / "a").read_text())
            await sinks.reload(with_sinks(renamed, tmp_path, {"jsonl": {"path": "a"}}))
            sinks.listen(NodeChanged(1, "dead", "second"))
        lines = [json.loads(line) for line in (tmp_path / "a").open()]
        assert {line["reason"]: line["variant"] for line in lines if line["node"] == 1} == {
            "first": "v1",
            "second": "v0",
        }

    run(test)


def test_sinks_come_go_and_move_without_losing_an_event(tmp_path: Path) -> None:
    async def test() -> None:
        plain = loopback_fleet([], udp=2)
        first = with_sinks(plain, tmp_path, {"jsonl": {"path": "a"}, "sqlite": {}})
        async with nodes_of(plain, {}), Gateway(plain, state_dir=tmp_path) as gateway:
            await gateway.wait_for_nodes(2, 20)
            async with make_sinks(gateway, first) as sinks:
                told = 0

                async def tell() -> None:
                    nonlocal told
                    while True:
                        sinks.listen(Warned(str(told)))
                        told += 1
                        await asyncio.sleep(0)

                telling = asyncio.create_task(tell())
                await until(lambda: told > 20)
                moved = with_sinks(plain, tmp_path, {"jsonl": {"path": "b"}, "sqlite": {}})
                assert await sinks.reload(moved) == ["jsonl"]
                await until(lambda: (tmp_path / "b").stat().st_size > 0)
                alone = with_sinks(plain, tmp_path, {"sqlite": {}})
                assert await sinks.reload(alone) == ["jsonl"]
                assert await sinks.reload(alone) == []
                assert [sink.name for sink in sinks.status()] == ["sqlite"]
                telling.cancel()
        written = texts(tmp_path / "a") + texts(tmp_path / "b")
        assert written == [str(number) for number in range(len(written))]
        rows = sqlite3.connect(tmp_path / "events.db").execute("SELECT text FROM warnings")
        assert [text for (text,) in rows] == [str(number) for number in range(told)]
        lines = [json.loads(line) for line in (tmp_path / "b").open()]
        states = [(line["node"], line["state"]) for line in lines if line["event"] == "node"]
        # And once more before them, if the first sink had not come to write them.
        assert states[-2:] == [(0, "up"), (1, "up")]

    run(test)


def test_a_sink_that_cannot_be_opened_leaves_all_as_they_were(tmp_path: Path) -> None:
    async def test() -> None:
        plain = loopback_fleet([], udp=2)
        first = with_sinks(plain, tmp_path, {"jsonl": {"path": "a"}})
        bad = with_sinks(
            plain, tmp_path, {"jsonl": {"path": "b"}, "sqlite": {"path": "no/such/events.db"}}
        )
        gateway = Gateway(plain, state_dir=tmp_path)
        async with gateway, make_sinks(gateway, first) as sinks:
            with pytest.raises(VpError, match=r"cannot write .*events.db: No such file"):
                await sinks.reload(bad)
            sinks.listen(Warned("still here"))
            assert [sink.name for sink in sinks.status()] == ["jsonl"]
        assert texts(tmp_path / "a") == ["still here"]

    run(test)


def test_what_a_sink_in_trouble_holds_goes_to_the_next(tmp_path: Path) -> None:
    """In its order, with the batch in hand and the counts; also past a table that is no good."""

    async def test() -> None:
        plain = loopback_fleet([], udp=2)
        first = with_sinks(plain, tmp_path, {"jsonl": {"path": "a"}})
        gateway = Gateway(plain, state_dir=tmp_path)
        async with gateway, make_sinks(gateway, first) as sinks:
            sinks.listen(Warned("0"))
            await until(lambda: sinks.status()[0].written == 1)
            with disk_full_at((tmp_path / "a").stat().st_size):
                sinks.listen(Warned("1"))
                await until(lambda: sinks.status()[0].trouble is not None)
                sinks.listen(Warned("2"))
                nowhere = with_sinks(plain, tmp_path, {"jsonl": {"path": "no/such"}})
                with pytest.raises(VpError, match="No such file"):
                    await sinks.reload(nowhere)
                sinks.listen(Warned("3"))
                moved = with_sinks(plain, tmp_path, {"jsonl": {"path": "b"}})
                assert await sinks.reload(moved) == ["jsonl"]
                sinks.listen(Warned("4"))
            await until(lambda: sinks.status()[0].waiting == 0)
            status = sinks.status()[0]
        assert texts(tmp_path / "a") == ["0"]
        assert texts(tmp_path / "b") == ["1", "2", "3", "4"]
        assert (status.taken, status.written, status.dropped) == (5, 5, 0)

    run(test)


@needs_mosquitto
def test_answers_that_waited_at_the_wrong_port_reach_the_right_one(tmp_path: Path) -> None:
    async def test() -> None:
        plain = loopback_fleet([], udp=2)
        (nobody,) = free_ports(socket.SOCK_STREAM, 1)
        async with running(tmp_path) as broker:
            listener = Listener(broker, "vp/simulated/answer")
            await until(lambda: listener.subscribed)
            wrong, right = (
                with_sinks(plain, tmp_path, {"mqtt": {"host": "127.0.0.1", "port": port}})
                for port in (nobody, broker.port)
            )
            gateway = Gateway(plain, state_dir=tmp_path)
            async with gateway, make_sinks(gateway, wrong) as sinks:
                for request in range(5):
                    sinks.listen(answered(request))
                await until(lambda: sinks.status()[0].trouble is not None)
                assert await sinks.reload(right) == ["mqtt"]
                sinks.listen(answered(5))
                await until(lambda: sinks.status()[0].waiting == 0)
                status = sinks.status()[0]
                await until(lambda: len(listener.heard) >= 6)
            listener.close()
        assert listener.requests("vp/simulated/answer") == list(range(6))
        assert (status.taken, status.written, status.dropped) == (6, 6, 0)

    run(test)


@needs_mosquitto
def test_nodes_that_come_and_go_leave_the_client_as_it_is(tmp_path: Path) -> None:
    """One connection: who subscribes sees no goodbye, and the device as it is now."""
    config = "homeassistant/device/vp_simulated_7/config"

    async def test() -> None:
        both = loopback_fleet([], udp=2)
        async with running(tmp_path) as broker:
            table = {"mqtt": {"host": "127.0.0.1", "port": broker.port}}
            whole = with_sinks(both, tmp_path, table)
            nodes = whole.nodes[:1]
            less = replace(whole, table=whole.table.model_copy(update={"nodes": nodes}))
            listener = Listener(broker)
            await until(lambda: listener.subscribed)
            gateway = Gateway(both, state_dir=tmp_path)
            async with gateway, make_sinks(gateway, whole) as sinks:
                sinks.listen(NodeChanged(1, "dead", "silent"))
                await until(lambda: bool(listener.of("vp/simulated/node/1")))
                assert await sinks.reload(less) == []
                await until(lambda: listener.of("vp/simulated/node/1")[-1] == b"")
                await until(lambda: "node_1" not in entities(listener, config))
                assert "node_0" in entities(listener, config)
                assert await sinks.reload(whole) == []
                await until(lambda: "node_1" in entities(listener, config))
                assert listener.of("vp/simulated/status") == [b"online"]
            listener.close()

    run(test)


def entities(listener: Listener, topic: str) -> set[str]:
    return set(listener.latest(topic)["components"])


def test_a_backlog_follows_another_in_order_and_counts() -> None:
    newer, older = Backlog(2), Backlog(3, [Record(0.0, Warned("old"))])
    older.taken, older.written, older.dropped, older.refused = 9, 5, 1, 2
    for text in "abc":
        newer.put(Record(1.0, Warned(text)))
    newer.follow(older)
    assert [record.event for record in newer.records] == [Warned("old"), Warned("b"), Warned("c")]
    assert (newer.taken, newer.written, newer.dropped, newer.refused) == (12, 5, 2, 2)
