"""Sinks that change while a gateway runs."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loopback_nodes import loopback_fleet, nodes_of, run
from sink_events import until
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway import Gateway, Warned
from variant_parallelism.gateway.sinks import make_sinks
from variant_parallelism.sinks_table import SinksTable


def with_sinks(fleet: Fleet, folder: Path, sinks: dict[str, Any]) -> Fleet:
    table = fleet.table.model_copy(update={"sinks": SinksTable.model_validate(sinks)})
    return replace(fleet, path=folder / "fleet.toml", table=table)


def texts(path: Path) -> list[str]:
    lines = [json.loads(line) for line in path.open()]
    return [line["text"] for line in lines if line["event"] == "warning"]


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
        begun = [json.loads(line) for line in (tmp_path / "b").open()][:2]
        assert [(line["event"], line["node"], line["state"]) for line in begun] == [
            ("node", 0, "up"),
            ("node", 1, "up"),
        ]

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
