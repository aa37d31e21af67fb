"""What tools/soak.py takes for a broken promise, and how it counts."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from soaking.broker import Broker as SoakBroker
from soaking.broker import Subscriber
from soaking.expected import Expected
from soaking.load import Tally
from soaking.sinks import AT_A_KILL, SinkCounts, sinks_of, unexcused
from soaking.verify import Findings, violations
from soaking.watch import LineCounter, Samples

from fleet_factory import make_fleet
from free_ports import free_ports
from loopback_nodes import run
from mosquitto_broker import needs_mosquitto
from sink_events import until
from variant_parallelism.gateway.sinks.prometheus import Histogram, Numbers
from variant_parallelism.gateway.sinks.records import iso_time
from variant_parallelism.gateway.sinks.sink import SinkStatus
from variant_parallelism.pattern import captured
from variant_parallelism.reference import Entries
from variant_parallelism.virtual import AnswerTable, trigger_answer


def kept(tmp_path: Path) -> Findings:
    """A soak in which every promise was kept."""
    return Findings(
        seconds=1200.0,
        tally=Tally(asked=10, answered=10, votes=50, lies=2),
        samples=Samples([float(second) for second in range(1200)], [60_000_000] * 1200),
        counters={"requests": 10, "answers": 10, "lost": 0},
        sinks={
            "jsonl": SinkCounts(taken=12, written=12, answers_found=10, events_found=12),
            "sqlite": SinkCounts(taken=12, written=12, answers_found=10),
            "mqtt": SinkCounts(taken=12, written=12, answers_found=8),
        },
        lines=LineCounter(tmp_path / "events.jsonl"),
        reloads_missed=0,
        status=0,
        tracebacks=[],
    )


def test_a_soak_that_keeps_its_promises(tmp_path: Path) -> None:
    assert violations(kept(tmp_path)) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"lost": 1}, "1 requests without an answer while nodes lived"),
        ({"failed": 1}, "1 requests that the gateway failed"),
        ({"refused": 1}, "1 requests that the gateway refused"),
        ({"wrong_votes": 2}, "2 votes that the node's model"),
        ({"wrong_answers": 3}, "3 answers that are not what the votes"),
        ({"captures": 100, "captured_later": 26}, "26 of 100 votes on triggers are on another"),
        ({"answered": 0}, "no request was answered"),
        ({"asked": 500}, "500 requests were made and 10 came back"),
        ({"asked": 9, "answered": 9}, "the gateway counts 10 requests, its callers 9"),
    ],
)
def test_what_callers_saw(tmp_path: Path, change: dict[str, int], told: str) -> None:
    found = kept(tmp_path)
    broken = violations(replace(found, tally=replace(found.tally, **change)))  # type: ignore[arg-type]
    assert any(told in text for text in broken), broken


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"status": -9}, "the gateway ended with status -9"),
        ({"reloads_missed": 1}, "1 reloads that were not heeded"),
        ({"tracebacks": ["KeyError: 3"]}, "1 tracebacks in the gateway's log: KeyError: 3"),
        ({"counters": {}}, "the gateway counts None requests, its callers 10"),
        (
            {"counters": {"requests": 11, "answers": 11, "lost": 0}},
            "the gateway counts 11 answers, its callers 10",
        ),
        (
            {"counters": {"requests": 11, "answers": 10, "lost": 1}},
            "the gateway counts 1 lost, its callers 0",
        ),
        ({"sinks": {}}, "no mqtt among the sinks"),
        ({"samples": Samples()}, "memory was looked at 0 times in 1200 s"),
        ({"samples": Samples([0.0, 1.0], [0, 0])}, "memory was looked at 0 times in 1200 s"),
    ],
)
def test_a_broken_promise_is_told(tmp_path: Path, change: dict[str, object], told: str) -> None:
    broken = violations(replace(kept(tmp_path), **change))  # type: ignore[arg-type]
    assert any(told in text for text in broken), broken


@pytest.mark.parametrize(
    ("sink", "change", "told"),
    [
        ("sqlite", {"answers_found": 9}, "sqlite has 9 of 10 answers"),
        ("sqlite", {"answers_found": 11}, "sqlite has 11 of 10 answers"),
        ("jsonl", {"events_found": 11}, "jsonl has 11 events and counts 12"),
        ("sqlite", {"written": 0, "dropped": 12, "answers_found": 0}, "sqlite: 12 events dropped"),
        ("mqtt", {"written": 11, "refused": 1}, "mqtt: 1 events refused"),
        ("mqtt", {"written": 11, "waiting": 1}, "mqtt: 1 events waiting"),
        ("mqtt", {"written": 10}, "mqtt took 12 events and accounts for 10"),
        ("mqtt", {"taken": 4, "written": 4}, "mqtt took 4 events where 10 requests ended"),
        ("mqtt", {"unexcused": 6}, "mqtt: 6 answers missing"),
    ],
)
def test_a_sink_that_lost_something(
    tmp_path: Path, sink: str, change: dict[str, int], told: str
) -> None:
    found = kept(tmp_path)
    found.sinks[sink] = replace(found.sinks[sink], **change)
    assert told in violations(found)


def test_a_kill_of_the_broker_explains_few_answers_of_before() -> None:
    def at(second: int, count: int) -> set[tuple[str, int]]:
        return {(iso_time(1_700_000_000.0 + second), request) for request in range(count)}

    kills = [1_700_000_010.0, 1_700_000_050.0]
    assert unexcused(set(), kills) == 0
    assert unexcused(at(9, AT_A_KILL) | at(49, AT_A_KILL), kills) == 0
    assert unexcused(at(9, AT_A_KILL + 3), kills) == 3
    assert unexcused(at(60, 2), kills) == 2
    assert unexcused(at(9, 2), []) == 2


def test_counts_of_sinks_are_read_as_the_gateway_writes_them() -> None:
    mqtt = SinkStatus("mqtt", 1, 100, 12, 8, 2, 1, "away")
    numbers = Numbers({}, {}, (), Histogram(), {}, [mqtt])
    assert sinks_of(numbers.text().decode()) == {
        "mqtt": SinkCounts(taken=12, written=8, dropped=2, refused=1, waiting=1)
    }


def test_what_nodes_must_say_at_a_trigger() -> None:
    """Virtual ones by their rule, the others of their own pattern; also where asked anew."""
    fleet = make_fleet(udp=3)
    shape = (fleet.manifest.input.height, fleet.manifest.input.width, fleet.manifest.input.channels)
    image = np.zeros(shape, np.uint8)
    columns = [
        lambda image, k, first=first: ((first, 9), (8, 1)) for first in range(len(fleet.nodes))
    ]
    table = AnswerTable.record([image], columns, fleet.table.k)
    asked: list[tuple[str, int]] = []

    def model(variant: str, image: NDArray[np.uint8], k: int) -> Entries:
        asked.append((variant, k))
        return ((int(image.sum()) % 10, 5), (3, -5))

    expected = Expected(fleet, [image], table, lambda node: node == 1, model)
    assert expected.of_image(0, 1) == ((1, 9), (8, 1))
    k, classes = fleet.table.k, len(fleet.manifest.classes)
    column = [variant.name for variant in fleet.manifest.variants].index(fleet.nodes[1].variant)
    virtual = trigger_answer(65535, column, classes, k)
    assert expected.of_trigger(65535, 1) == virtual
    assert expected.is_of_later_trigger(65530, 1, virtual)
    assert expected.is_of_later_trigger(65530, 1, expected.of_trigger(2, 1))
    assert not expected.is_of_later_trigger(65530, 1, ((classes, 0), *virtual[1:]))
    said = model(fleet.nodes[2].variant, captured(2, 7, shape), k)
    assert expected.of_trigger(7, 2) == said
    assert set(asked) == {(fleet.nodes[2].variant, k)}


@needs_mosquitto
def test_a_subscriber_hears_what_came_before_it_was_back(tmp_path: Path) -> None:
    """Of a broker that was killed: it knows that the subscriber has a session."""
    (port,) = free_ports(socket.SOCK_STREAM, 1)

    async def test() -> None:
        with SoakBroker(tmp_path, port) as broker:
            with Subscriber(port, "soak/answer"):
                broker.keep_sessions()
            broker.kill()
            broker.start()
            publisher = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
            publisher.connect_async("127.0.0.1", port)
            publisher.loop_start()
            await until(publisher.is_connected)
            told = publisher.publish("soak/answer", json.dumps({"time": "t", "request": 1}), qos=1)
            await until(told.is_published)
            with Subscriber(port, "soak/answer") as subscriber:
                await until(lambda: subscriber.answers == {("t", 1)})
            publisher.disconnect()
            publisher.loop_stop()
            assert len(broker.kills) == 1

    run(test)


def test_memory_that_grows(tmp_path: Path) -> None:
    found = kept(tmp_path)
    found.samples.rss = [60_000_000 + 2_500 * second for second in range(1200)]
    assert violations(found) == ["memory grows by 150 kB/min, more than 100"]
    found.samples.rss = [60_000_000] * 1100 + [90_000_000] * 100
    assert "memory grew by more than 24 MB in the second half" in violations(found)


def test_lines_are_counted_over_rotations(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    lines = LineCounter(path)

    def line(event: str, number: int) -> str:
        return json.dumps({"time": "t", "event": event, "request": number}) + "\n"

    def write(number: int, *events: str) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.writelines(line(event, number) for event in events)

    write(1, "answer", "node")
    lines.rotate()
    assert not path.exists()
    with path.with_name("events.jsonl.moved").open("a", encoding="utf-8") as late:
        late.write(line("answer", 2))
    write(3, "answer")
    lines.rotate()
    write(0, "warning")
    with path.open("a", encoding="utf-8") as file:
        file.write('{"event": "ans')
    lines.finish()
    assert lines.answers == {("t", 1), ("t", 2), ("t", 3)}
    assert dict(lines.events) == {"answer": 3, "node": 1, "warning": 1}
    assert lines.damaged == 1
