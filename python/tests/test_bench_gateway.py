"""`vp bench-gateway` in small: every measurement is there, and its counts add up."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fleet_factory import make_fleet
from free_ports import free_ports
from variant_parallelism import wire
from variant_parallelism.cli import app
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet, load_fleet
from variant_parallelism.gateway_bench import worker
from variant_parallelism.gateway_bench.bounds import plain
from variant_parallelism.gateway_bench.jobs import Job, Measured
from variant_parallelism.gateway_bench.plain import PlainGateway
from variant_parallelism.gateway_bench.report import ratios, verdicts
from variant_parallelism.gateway_bench.run import KINDS
from variant_parallelism.keys import group_key, node_key
from variant_parallelism.virtual import VirtualNodes, write_virtual_fleet

NODES = 3


def test_every_measurement_is_made() -> None:
    result = CliRunner().invoke(
        app,
        [
            "bench-gateway",
            *("--nodes", str(NODES), "--seconds", "0.5"),
            *("--in-flight", "2", "--rate", "20", "--json"),
        ],
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    measured = {one["kind"]: Measured.model_validate(one) for one in report["measured"]}
    assert tuple(measured) == KINDS
    for one in measured.values():
        assert one.nodes == NODES
        assert one.seconds > 0 and one.cpu_s > 0 and one.rss_before > 0
        assert one.wrong == 0
    for kind in ("triggered", "images", "latency"):
        one = measured[kind]
        assert one.requests == one.answers + one.lost
        assert 0 < one.answers <= one.predictions <= one.answers * NODES
    assert measured["plain"].predictions == measured["plain"].answers * NODES > 0
    assert measured["bare"].predictions >= NODES
    assert measured["latency"].requests == 10
    assert measured["latency"].added_us is not None and measured["latency"].added_us[0] > 0
    assert set(report["ratios"]) == {str(NODES)}


def test_memory_over_so_many_answers() -> None:
    result = CliRunner().invoke(app, ["bench-gateway", "--nodes", "2", "--answers", "60"])
    assert result.exit_code == 0, result.output
    assert "vp gateway, triggered" in result.output
    assert "memory grows by" in result.output


@pytest.mark.parametrize("sizes", ["eight", "0", "8,,9", "100000"])
def test_impossible_fleets_are_refused(sizes: str) -> None:
    result = CliRunner().invoke(app, ["bench-gateway", "--nodes", sizes])
    assert isinstance(result.exception, VpError)
    assert str(result.exception).startswith(f"--nodes {sizes}: ")


def test_the_plain_gateway_checks_what_the_real_one_does(tmp_path: Path) -> None:
    gateway_port, node_port = free_ports(socket.SOCK_DGRAM, 2)
    fleet = load_fleet(write_virtual_fleet(tmp_path, NODES, ports=(gateway_port, node_port)))

    def prediction(node: int, number: int, winner: int, key: bytes | None = None) -> bytes:
        assert fleet.key is not None
        return wire.encode(
            wire.Prediction(number, 1.0, ((winner, 100), (0, -100))),
            fleet=fleet.table.id,
            node=node,
            counter=(1 << 16) + next(counters),
            key=key or node_key(fleet.key, fleet.table.id, node),
            classes=10,
        )

    counters = itertools.count()
    sent: list[bytes] = []

    class Transport:
        def sendto(self, message: bytes, group: object) -> None:
            sent.append(message)

    async def test() -> None:
        gateway = PlainGateway(fleet, 5)
        gateway.connection_made(Transport())
        asked = asyncio.ensure_future(gateway.trigger())
        await asyncio.sleep(0)
        _, trigger = wire.decode(sent[0], group_key(fleet.key or b"", fleet.table.id))
        assert isinstance(trigger, wire.Trigger)
        votes = [prediction(node, trigger.request, 3) for node in range(NODES)]
        damaged = bytearray(prediction(2, trigger.request, 4))
        damaged[-1] ^= 1
        forged = prediction(2, trigger.request, 4, bytes(32))
        for message in (votes[0], votes[0], votes[1], bytes(damaged), forged):
            gateway.datagram_received(message, None)
        await asyncio.sleep(0)
        assert not asked.done()
        gateway.datagram_received(votes[2], None)
        assert await asked == (trigger.request, 3)

    asyncio.run(test())
    with VirtualNodes(fleet, boot=99):
        counted = plain(fleet, 6, 0.2, 2, lambda done: None)
    assert counted.answers > 0 and counted.wrong == 0


def test_a_lossy_bound_is_measured_with_less_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def once(job: Job, fleet: Fleet, in_flight: int) -> Measured:
        asked.append(in_flight)
        rate, lost = {4: (100, 50), 2: (300, 20), 1: (200, 0)}[in_flight]
        return Measured(kind=job.kind, nodes=8, seconds=1.0, cpu_s=1.0, predictions=rate, lost=lost)

    monkeypatch.setattr(worker, "_measure_once", once)
    paths = {name: Path(name) for name in ("fleet", "state", "sent")}
    bare = Job.model_validate({"kind": "bare", "seconds": 1.0, "in_flight": 4, **paths})
    assert worker._measure_bound(bare, make_fleet()).predictions == 300
    assert asked == [4, 2, 1]
    assert worker._measure_bound(bare.model_copy(update={"kind": "plain"}), make_fleet()).lost == 50


def test_ratios_and_verdicts() -> None:
    def one(kind: str, predictions: int, cpu_s: float, **more: object) -> Measured:
        return Measured.model_validate(
            {"kind": kind, "nodes": 8, "seconds": 2.0, "cpu_s": cpu_s, "predictions": predictions}
            | more
        )

    measured = [
        one("bare", 1000, 1.0),
        one("plain", 50, 2.0),
        one(
            "triggered", 500, 2.0, wrong=3, dropped=7, rss=[(0, 10), (500_000, 10), (1_000_000, 12)]
        ),
    ]
    assert ratios(measured, 8) == {
        "times_plain": 10.0,
        "times_plain_per_core": 10.0,
        "of_bare": 0.5,
        "of_bare_per_core": 0.25,
    }
    assert ratios(measured[:2], 8)["times_plain"] is None
    faster = [*measured, one("recv", 2000, 2.0, lost=100)]
    assert ratios(faster, 8)["of_bare"] == 0.25
    told = "8 nodes, recv: 100 predictions never came: this machine delivers more than this bound"
    assert told in verdicts(faster) and told not in verdicts(measured)
    late = one("latency", 8, 1.0, answers=5, incomplete=2)
    assert "2 of 5 answers lack a vote" in "\n".join(verdicts([late]))
    text = "\n".join(verdicts(measured))
    assert "10.0 times the plain gateway" in text
    assert "50% of the bare receive rate" in text
    assert "3 answers are WRONG" in text
    assert "7 datagrams did not fit" in text
