"""A gateway with all of its sinks, what Prometheus reads, and the tables of `[sinks]`."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib import request

import jinja2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from fleet_factory import make_fleet, make_image, make_manifest, write_fleet_file
from loopback_nodes import loopback_fleet, nodes_of, run
from mosquitto_broker import Listener, needs_mosquitto, running
from sink_events import VARIANTS, answered, one_of_each, until
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet, load_fleet
from variant_parallelism.gateway import Answered, Gateway
from variant_parallelism.gateway.sinks import exposition, make_sinks, prometheus
from variant_parallelism.gateway.sinks.fan_out import Sinks
from variant_parallelism.gateway.sinks.homeassistant import Topics, discovery_config
from variant_parallelism.gateway.sinks.json_lines import JsonLinesSink
from variant_parallelism.gateway.sinks.prometheus import Metrics
from variant_parallelism.gateway.sinks.records import encode, record_json
from variant_parallelism.gateway.sinks.sink import Sink
from variant_parallelism.gateway.sinks.spool import Record
from variant_parallelism.gateway.web import HttpServer
from variant_parallelism.sinks_table import JsonLinesTable, SinksTable


def fleet_in(folder: Path, sinks: dict[str, Any], udp: int = 2) -> Fleet:
    fleet = loopback_fleet([], udp, sinks=SinksTable.model_validate(sinks))
    return replace(fleet, path=folder / "fleet.toml")


def samples(metrics: bytes) -> dict[tuple[str, str], float]:
    """By name, and the value of the one label that tells them apart."""
    found = {}
    for family in text_string_to_metric_families(metrics.decode()):
        for sample in family.samples:
            labels = sample.labels
            label = labels.get("le") or labels.get("node") or labels.get("sink") or ""
            found[sample.name, label] = sample.value
    return found


@needs_mosquitto
def test_a_gateway_tells_all_of_its_sinks(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path) as broker:
            listener = Listener(broker, "vp/#")
            await until(lambda: listener.subscribed)
            mqtt = {"host": "127.0.0.1", "port": broker.port}
            fleet = fleet_in(tmp_path, {"jsonl": {}, "sqlite": {}, "mqtt": mqtt})
            async with nodes_of(fleet, {}), Gateway(fleet, state_dir=tmp_path) as gateway:
                async with make_sinks(gateway, fleet) as sinks:
                    await gateway.wait_for_nodes(2, 20)
                    answers = [await gateway.classify(make_image(fleet, n)) for n in range(3)]
                    # By QoS 0, so that nothing else would wait for it.
                    await until(lambda: len(listener.of("vp/simulated/node/1")) > 0)
                status = {sink.name: sink for sink in sinks.status()}
            listener.close()
        names = [answer.class_name for answer in answers]
        lines = [json.loads(line) for line in (tmp_path / "events.jsonl").open()]
        assert [line["name"] for line in lines if line["event"] == "answer"] == names
        states = [(line["node"], line["state"]) for line in lines if line["event"] == "node"]
        assert set(states) >= {(0, "up"), (1, "up")}
        rows = sqlite3.connect(tmp_path / "events.db").execute("SELECT name, votes FROM answers")
        assert rows.fetchall() == [(name, 2) for name in names]
        published = [json.loads(answer) for answer in listener.of("vp/simulated/answer")]
        assert [answer["name"] for answer in published] == names
        assert listener.latest("vp/simulated/node/1")["state"] == "up"
        assert all(s.written == s.taken == len(lines) for s in status.values())

    run(test)


def test_sinks_begin_with_the_states_of_now(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = fleet_in(tmp_path, {"jsonl": {"path": "states"}})
        async with nodes_of(fleet, {}), Gateway(fleet, state_dir=tmp_path) as gateway:
            await gateway.wait_for_nodes(2, 20)
            async with make_sinks(gateway, fleet):
                pass
            await gateway.classify(make_image(fleet))
        lines = [json.loads(line) for line in (tmp_path / "states").open()]
        assert [(line["node"], line["state"]) for line in lines] == [(0, "up"), (1, "up")]

    run(test)


def test_a_listener_can_leave(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = fleet_in(tmp_path, {})
        early, late = [], []
        async with nodes_of(fleet, {}), Gateway(fleet, state_dir=tmp_path) as gateway:
            stop = gateway.on_event(early.append)
            gateway.on_event(late.append)
            await gateway.wait_for_nodes(2, 20)
            await gateway.classify(make_image(fleet))
            stop()
            await gateway.classify(make_image(fleet, 1))
        assert len(early) > 0
        assert late[: len(early)] == early
        assert [type(event) for event in late[len(early) :]] == [Answered]

    run(test)


class StuckSink(Sink):
    """Hangs in the middle of its first write, as on a network drive that is gone."""

    name = "stuck"

    def __init__(self) -> None:
        super().__init__(capacity=16)
        self.free = threading.Event()

    def open(self) -> None:
        pass

    def write(self, batch: list[Record]) -> None:
        self.free.wait(60)

    def close(self) -> None:
        pass


def test_a_sink_that_hangs_delays_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = fleet_in(tmp_path, {})
        async with nodes_of(fleet, {}), Gateway(fleet, state_dir=tmp_path) as gateway:
            stuck = StuckSink()
            sinks = Sinks(gateway, fleet, [stuck])
            await stuck.start()
            gateway.on_event(sinks.listen)
            await gateway.wait_for_nodes(2, 20)
            for number in range(30):
                answer = await gateway.classify(make_image(fleet, number))
                assert answer.missing == ()
            status = stuck.status()
            assert (status.waiting, status.written) == (16, 0)
            assert status.dropped == status.taken - 16 > 0
            began = time.monotonic()
            await sinks.close(0.05)
            assert time.monotonic() - began < 30
            assert stuck.status().dropped == stuck.status().taken
            stuck.free.set()

    run(test)


def test_a_sink_with_a_mistake_hurts_nobody_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(StuckSink):
        def write(self, batch: list[Record]) -> None:
            for record in batch:
                if isinstance(record.event, Answered):
                    raise KeyError("a mistake")

    async def test() -> None:
        fleet = fleet_in(tmp_path, {}, udp=3)
        async with Gateway(fleet, state_dir=tmp_path) as gateway:
            broken = Broken()
            sound = JsonLinesSink(JsonLinesTable(), tmp_path, VARIANTS)
            sinks = Sinks(gateway, fleet, [broken, sound])
            await broken.start()
            await sound.start()
            for event in one_of_each():
                sinks.listen(event)
            await until(lambda: broken.status().waiting == 0)
            await sinks.close(10)
        assert (broken.status().refused, broken.status().written) == (2, 3)
        assert (sound.status().waiting, sound.status().written) == (0, 5)
        assert caplog.text.count("KeyError: 'a mistake'") == 1

    run(test)


def test_prometheus_reads_counts_latencies_and_sinks(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = fleet_in(tmp_path, {"jsonl": {}}, udp=3)
        async with (
            nodes_of(fleet, {}) as nodes,
            Gateway(fleet, state_dir=tmp_path) as gateway,
            make_sinks(gateway, fleet) as sinks,
        ):
            await gateway.wait_for_nodes(3, 20)
            for number in range(3):
                await gateway.classify(make_image(fleet, number))
            nodes.nodes[2].alive = False
            await gateway.classify(make_image(fleet), deadline_ms=100)
            await until(lambda: gateway.nodes()[2].state == "dead")
            gateway.quarantine(1, True, "dirty")
            await until(lambda: sinks.status()[0].waiting == 0)
            metrics, content_type = await sinks.render_metrics()
        assert content_type.startswith("text/plain")
        found = samples(metrics)
        assert found["vp_requests_total", ""] == found["vp_answers_total", ""] == 4
        assert found["vp_forged_total", ""] == found["vp_lost_total", ""] == 0
        assert [found["vp_node_up", node] for node in "012"] == [1, 1, 0]
        assert [found["vp_node_quarantined", node] for node in "012"] == [0, 1, 0]
        assert [found["vp_node_reliability_ratio", node] for node in "012"] == [1, 1, 0.75]
        assert found["vp_early_total", ""] == found["vp_spared_total", ""] == 0
        assert [found["vp_node_answers_total", node] for node in "012"] == [4, 4, 3]
        assert [found["vp_node_lost_total", node] for node in "012"] == [0, 0, 1]
        assert [found["vp_node_latency_seconds_count", node] for node in "012"] == [4, 4, 3]
        assert found["vp_answer_latency_seconds_bucket", "+Inf"] == 4
        assert 0.06 < found["vp_answer_latency_seconds_sum", ""] < 240
        assert found["vp_sink_written_total", "jsonl"] == len(
            (tmp_path / "events.jsonl").read_text().splitlines()
        )
        assert found["vp_sink_dropped_total", "jsonl"] == found["vp_sink_failing", "jsonl"] == 0
        assert found["vp_sink_waiting", "jsonl"] == 0

    run(test)


def test_metrics_are_served_beside_the_api(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = fleet_in(tmp_path, {})
        server = HttpServer(gateway := Gateway(fleet, state_dir=tmp_path), "127.0.0.1:0")
        async with gateway, make_sinks(gateway, fleet) as sinks:
            server.start(sinks.render_metrics)
            address = f"http://127.0.0.1:{server.port}/metrics"
            reply = await asyncio.to_thread(request.urlopen, address, timeout=30)
            assert reply.headers["Content-Type"].startswith("text/plain; version=")
            found = samples(reply.read())
            assert found["vp_requests_total", ""] == 0
            assert found["vp_http_requests_total", ""] == found["vp_http_connections", ""] == 1
            await server.stop()

    run(test)


def test_a_gateway_goes_on_while_its_metrics_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end = threading.Event(), threading.Event()

    def slow(*metric: Any) -> str:
        begun.set()
        assert may_end.wait(60)
        return exposition.family(*metric)

    async def test() -> None:
        fleet = fleet_in(tmp_path, {})
        async with nodes_of(fleet, {}), Gateway(fleet, state_dir=tmp_path) as gateway:
            await gateway.wait_for_nodes(2, 20)
            monkeypatch.setattr(prometheus, "family", slow)
            metrics = Metrics(gateway, lambda: [])
            texts = [asyncio.create_task(metrics.render()) for _ in range(2)]
            assert await asyncio.to_thread(begun.wait, 20)
            assert len((await gateway.classify(make_image(fleet))).votes) == 2
            may_end.set()
            one, other = await asyncio.gather(*texts)
            # Of the moment that was asked about; and written once.
            assert one[0] is other[0] and samples(one[0])["vp_requests_total", ""] == 0

    try:
        run(test)
    finally:
        may_end.set()


def test_names_in_metrics_are_read_back_as_they_are() -> None:
    name = 'a "b" \\n c\\\n'
    text = exposition.family("vp_x_total", "counter", "X", [("", exposition.labels(sink=name), 3)])
    (family,) = text_string_to_metric_families(text)
    assert family.type == "counter"
    assert [(sample.labels, sample.value) for sample in family.samples] == [({"sink": name}, 3.0)]


def test_latencies_fall_into_their_buckets(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = fleet_in(tmp_path, {}, udp=3)
        async with Gateway(fleet, state_dir=tmp_path) as gateway:
            metrics = Metrics(gateway, lambda: [])
            for latency_ms in (0.5, 1.0, 1.5, 10_000.0, 10_001.0):
                metrics.observe(answered(1, latency_ms=latency_ms))
            found = samples((await metrics.render())[0])
        buckets = [
            found["vp_answer_latency_seconds_bucket", bound]
            for bound in ("0.001", "0.002", "5.0", "10.0", "+Inf")
        ]
        assert buckets == [2, 3, 3, 4, 5]
        assert found["vp_answer_latency_seconds_sum", ""] == pytest.approx(20.004)
        assert found["vp_node_latency_seconds_count", "0"] == 5
        assert found["vp_node_latency_seconds_count", "2"] == 0

    run(test)


def test_home_assistants_templates_read_what_is_published() -> None:
    fleet = make_fleet(manifest=make_manifest())
    topics = Topics("vp/simulated", "homeassistant")
    config = discovery_config(fleet, topics, 30, 600)
    json.loads(encode(config))
    components = config["components"]
    unique = [component["unique_id"] for component in components.values()]
    assert len(set(unique)) == len(components) == 3 + 2 * len(fleet.nodes) + 8
    environment = jinja2.Environment()

    def shown(entity: str, template: str, payload: bytes) -> str:
        source = components[entity][template]
        return environment.from_string(source).render(value_json=json.loads(payload))

    event = encode(record_json(Record(1_700_000_000.0, answered(1)), VARIANTS))
    assert shown("class", "value_template", event) == "c3"
    assert "c3" in components["class"]["options"]
    assert shown("confidence", "value_template", event) == "75.0"
    assert shown("latency", "value_template", event) == "20.0"
    assert json.loads(shown("confidence", "json_attributes_template", event)) == {
        "votes": 2,
        "missing": [2],
        "latency_ms": 20.0,
        "time": "2023-11-14T22:13:20.000+00:00",
    }
    nothing = encode(record_json(Record(0.0, answered(2, None)), VARIANTS))
    # What Home Assistant takes for "unknown".
    assert shown("class", "value_template", nothing) == "None"
    assert shown("confidence", "value_template", nothing) == "None"
    states = {state: encode({"state": state}) for state in ("up", "dead", "quarantined")}
    assert {s: shown("node_0", "value_template", payload) for s, payload in states.items()} == {
        "up": "ON",
        "dead": "OFF",
        "quarantined": "ON",
    }
    for state, payload in states.items():
        assert shown("node_0_state", "value_template", payload) == state
        assert state in components["node_0_state"]["options"]
    counters = {"answers": 7, "forged": 2}
    assert shown("count_answers", "value_template", encode(counters)) == "7"
    assert shown("count_forged", "value_template", encode(counters)) == "2"
    assert all(component["expire_after"] > 0 for component in components.values())


@pytest.mark.parametrize(
    ("sinks", "line", "message"),
    [
        ("[sinks.kafka]\n", 1, "sinks.kafka: unknown key"),
        ("[sinks.jsonl]\npath = ''\n", 2, "sinks.jsonl.path: '' is no path"),
        ("[sinks.jsonl]\nfiles = 0\n", 2, "sinks.jsonl.files: .*greater than or equal to 1"),
        ("[sinks.sqlite]\nmax_age_days = 0\n", 2, "sinks.sqlite.max_age_days: .*greater than 0"),
        ("[sinks.mqtt]\n", 1, "sinks.mqtt.host: this key is missing"),
        ("[sinks.mqtt]\nhost = 'a b'\n", 2, "sinks.mqtt.host: 'a b' is neither a host name nor"),
        ("[sinks.mqtt]\nhost = 'h:1883'\n", 2, "sinks.mqtt.host: .*the port has its key"),
        ("[sinks.mqtt]\nhost = '1.2.3'\n", 2, "sinks.mqtt.host: "),
        ("[sinks.mqtt]\nhost = 'h'\nport = 0\n", 3, "sinks.mqtt.port: "),
        ("[sinks.mqtt]\nhost = 'h'\ntopic = 'a/#'\n", 3, "sinks.mqtt.topic: 'a/#' is no topic"),
        ("[sinks.mqtt]\nhost = 'h'\ntopic = '/a'\n", 3, "sinks.mqtt.topic: .*with a slash"),
        ("[sinks.mqtt]\nhost = 'h'\nca_file = 'c'\n", 1, "sinks.mqtt: ca_file without tls"),
        ("[sinks.mqtt]\nhost = 'h'\npassword_file = 'c'\n", 1, "password_file without username"),
        ("[sinks]\nmqtt = { host = 'h', port = 0 }\n", 2, "sinks.mqtt.port: "),
    ],
)
def test_mistakes_in_the_tables_name_their_line(
    tmp_path: Path, sinks: str, line: int, message: str
) -> None:
    node = {"id": 0, "variant": "v0", "board": "mps2-an386", "serial": "/dev/ttyUSB0"}
    path = write_fleet_file(tmp_path, [node])
    before = path.read_text(encoding="utf-8")
    path.write_text(before + "\n" + sinks, encoding="utf-8")
    line += len(before.splitlines()) + 1
    with pytest.raises(VpError, match=rf"fleet.toml:{line}: .*{message}"):
        load_fleet(path)


def test_a_sink_that_cannot_open_closes_the_others(tmp_path: Path) -> None:
    async def test() -> None:
        fleet = fleet_in(tmp_path, {"jsonl": {}, "sqlite": {"path": "no/folder/events.db"}})
        async with Gateway(fleet, state_dir=tmp_path) as gateway:
            with pytest.raises(VpError, match=r"no/folder/events.db: No such file"):
                async with make_sinks(gateway, fleet):
                    pass
        await until(lambda: not [t for t in threading.enumerate() if t.name == "sink-jsonl"])

    run(test)


def test_listening_never_raises(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        fleet = fleet_in(tmp_path, {})
        async with Gateway(fleet, state_dir=tmp_path) as gateway:
            sinks = Sinks(gateway, fleet)
            sinks.listen(replace(answered(1), answer=None))  # type: ignore[arg-type]
            sinks.listen(replace(answered(1), answer=None))  # type: ignore[arg-type]
            await asyncio.sleep(0)
        assert caplog.text.count("the sinks missed an event") == 1

    run(test)
