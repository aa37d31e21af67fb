"""The MQTT sink against a real Mosquitto that is killed, frozen, cut off and forgetful."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fleet_factory import make_fleet
from loopback_nodes import run
from mosquitto_broker import Broker, Gate, Listener, needs_mosquitto, running
from sink_events import answered, one_of_each, until
from variant_parallelism.errors import VpError
from variant_parallelism.gateway import NodeChanged
from variant_parallelism.gateway.sinks import mqtt
from variant_parallelism.gateway.sinks.mqtt import MqttSink
from variant_parallelism.gateway.sinks.spool import Record
from variant_parallelism.sinks_table import MqttTable

FLEET = make_fleet()
ANSWER, EVENT, STATUS = "vp/simulated/answer", "vp/simulated/event", "vp/simulated/status"
CONFIG = "homeassistant/device/vp_simulated_7/config"


def sink_to(port: int, folder: Path = Path(), **table: Any) -> MqttSink:
    return MqttSink(MqttTable(host="127.0.0.1", port=port, **table), folder, FLEET)


@contextlib.asynccontextmanager
async def started(sink: MqttSink) -> AsyncIterator[MqttSink]:
    await sink.start()
    try:
        yield sink
    finally:
        await sink.stop(10)


@contextlib.asynccontextmanager
async def listening(broker: Broker, *topics: str, **options: Any) -> AsyncIterator[Listener]:
    listener = Listener(broker, *topics, **options)
    try:
        await until(lambda: listener.subscribed)
        yield listener
    finally:
        listener.close()


def tell(sink: MqttSink, requests: range) -> None:
    for request in requests:
        sink.put(Record(1_700_000_000.0 + request, answered(request)))


@needs_mosquitto
def test_events_and_state_are_published(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path) as broker, listening(broker) as listener:
            async with started(sink_to(broker.port)) as sink:
                for event in one_of_each():
                    sink.put(Record(1_700_000_000.0, event))
                sink.refresh({"answers": 5}, (), 1_700_000_000.0)
                await until(lambda: len(listener.of(EVENT)) == 3)
                await until(lambda: bool(listener.of("vp/simulated/counters")))
            await until(lambda: b"offline" in listener.of(STATUS))
            assert listener.requests(ANSWER) == [1, 2]
            first = json.loads(listener.of(ANSWER)[0])
            assert (first["time"], first["name"]) == ("2023-11-14T22:13:20.000+00:00", "c3")
            assert [json.loads(event)["event"] for event in listener.of(EVENT)] == [
                "node",
                "fault",
                "warning",
            ]
            assert listener.latest("vp/simulated/node/2") == {
                "time": "2023-11-14T22:13:20.000+00:00",
                "node": 2,
                "variant": "v2",
                "state": "dead",
                "reason": "silent for 3 s",
            }
            assert listener.latest("vp/simulated/counters") == {"answers": 5}
            assert (sink.status().written, sink.status().trouble) == (5, None)
            async with listening(broker) as late:
                retained = {"vp/simulated/node/2", "vp/simulated/counters", STATUS, CONFIG}
                await until(lambda: len(late.heard) >= len(retained))
                assert {topic for topic, _, _ in late.heard} == retained
                assert late.of(STATUS) == [b"offline"]

    run(test)


@needs_mosquitto
def test_a_killed_broker_loses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What it had not acknowledged, what came while it was away, and all that is retained."""

    async def test() -> None:
        async with running(tmp_path) as broker, listening(broker, ANSWER) as listener:
            gate = Gate(broker)
            await gate.open()
            async with started(sink_to(gate.port)) as sink:
                sink.put(Record(0.0, NodeChanged(1, "dead", "first")))
                tell(sink, range(30))
                await until(lambda: len(listener.requests(ANSWER)) == 30)
                broker.freeze()
                tell(sink, range(30, 60))
                await asyncio.sleep(0.1)
                broker.kill()
                await until(lambda: sink.status().trouble is not None)
                sink.put(Record(0.0, NodeChanged(1, "up", "second")))
                tell(sink, range(60, 90))
                await gate.cut()
                await until(lambda: not listener.subscribed)
                broker.start()
                await until(lambda: listener.subscribed)
                await gate.open()
                await until(lambda: sink.status().waiting == 0)
                await until(lambda: set(listener.requests(ANSWER)) == set(range(90)))
                assert list(dict.fromkeys(listener.requests(ANSWER))) == list(range(90))
                status = sink.status()
                assert (status.dropped, status.refused, status.trouble) == (0, 0, None)
                async with listening(broker, "vp/#", "homeassistant/#") as late:
                    await until(lambda: bool(late.of(STATUS) and late.of(CONFIG)))
                    await until(lambda: bool(late.of("vp/simulated/node/1")))
                    assert late.of(STATUS) == [b"online"]
                    assert late.latest("vp/simulated/node/1")["reason"] == "second"
                    assert all(retained for _, _, retained in late.heard)
            await gate.cut()
        lost = [record for record in caplog.records if record.levelname == "WARNING"]
        assert len(lost) == 1 and "lost 127.0.0.1" in lost[0].message

    caplog.set_level(logging.INFO, "variant_parallelism.gateway")
    run(test)


@needs_mosquitto
def test_what_waits_for_a_broker_is_bounded(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path) as broker, listening(broker, ANSWER) as listener:
            gate = Gate(broker)
            async with started(sink_to(gate.port, queue=50)) as sink:
                await until(lambda: sink.status().trouble is not None)
                assert "cannot reach 127.0.0.1" in str(sink.status().trouble)
                tell(sink, range(200))
                assert sink.status().waiting == 50
                await gate.open()
                await until(lambda: sink.status().waiting == 0)
            await gate.cut()
            heard = listener.requests(ANSWER)
            assert heard == sorted(heard)
            assert heard[-25:] == list(range(175, 200))
            assert len(heard) + sink.status().dropped == 200

    run(test)


@needs_mosquitto
def test_home_assistant_that_restarts_is_told_again(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            running(tmp_path) as broker,
            listening(broker) as listener,
            started(sink_to(broker.port)) as sink,
        ):
            await until(lambda: listener.of(STATUS) == [b"online"])
            sink.put(Record(0.0, NodeChanged(0, "up", "here")))
            await until(lambda: len(listener.of("vp/simulated/node/0")) == 1)
            listener.say("homeassistant/status", "offline")
            listener.say("homeassistant/status", "online")
            await until(lambda: len(listener.of(CONFIG)) == 2)
            await until(lambda: len(listener.of("vp/simulated/node/0")) == 2)
            await until(lambda: listener.of(STATUS) == [b"online"] * 2)
            assert len(set(listener.of(CONFIG))) == 1

    run(test)


@needs_mosquitto
def test_nodes_that_left_the_fleet_leave_home_assistant(tmp_path: Path) -> None:
    """It removes an entity that is announced with its platform alone."""
    smaller = make_fleet(serial=1, udp=1, manifest=FLEET.manifest)

    async def test() -> None:
        async with running(tmp_path) as broker:
            async with started(sink_to(broker.port)) as sink:
                sink.put(Record(0.0, NodeChanged(2, "up", "here")))
                await until(lambda: sink.status().written == 1)
            async with listening(broker, "homeassistant/#", "vp/simulated/node/2") as listener:
                table = MqttTable(host="127.0.0.1", port=broker.port)
                async with started(MqttSink(table, Path(), smaller)):
                    await until(lambda: len(listener.of(CONFIG)) == 4)
                    await until(lambda: len(listener.of("vp/simulated/node/2")) == 2)
                before, _, leaving, after = (
                    json.loads(config)["components"] for config in listener.of(CONFIG)
                )
                gone = {
                    "node_2": {"platform": "binary_sensor"},
                    "node_2_state": {"platform": "sensor"},
                }
                assert leaving == after | gone
                assert before.keys() == leaving.keys() == after.keys() | gone.keys()
                assert listener.of("vp/simulated/node/2")[-1] == b""

    run(test)


@needs_mosquitto
def test_without_discovery_nobody_is_told(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path) as broker, listening(broker) as listener:
            async with started(sink_to(broker.port, discovery="", topic="home/seven")) as sink:
                tell(sink, range(1))
                await until(lambda: len(listener.of("home/seven/answer")) == 1)
            assert {topic.split("/")[0] for topic, _, _ in listener.heard} == {"home"}

    run(test)


@needs_mosquitto
@pytest.mark.parametrize("back", [True, False])
def test_the_last_will_is_for_those_who_stay_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    monkeypatch.setattr(mqtt, "_WILL_DELAY_S", 600 if back else 0)

    async def test() -> None:
        async with running(tmp_path) as broker, listening(broker, STATUS) as listener:
            gate = Gate(broker)
            await gate.open()
            async with started(sink_to(gate.port)):
                await until(lambda: bool(listener.heard))
                await gate.cut()
                if back:
                    await gate.open()
                    await until(lambda: len(listener.heard) == 2)
                    assert listener.of(STATUS) == [b"online"] * 2
                else:
                    await until(lambda: len(listener.heard) == 2)
                    assert listener.of(STATUS) == [b"online", b"offline"]
            await gate.cut()

    run(test)


@needs_mosquitto
def test_what_the_broker_forbids_is_counted(tmp_path: Path) -> None:
    rules = tmp_path / "acl"
    rules.write_text(f"topic read #\ntopic write {EVENT}\n", encoding="utf-8")

    async def test() -> None:
        async with (
            running(tmp_path, f"acl_file {rules}") as broker,
            started(sink_to(broker.port)) as sink,
        ):
            tell(sink, range(3))
            sink.put(Record(0.0, NodeChanged(0, "up", "here")))
            await until(lambda: sink.status().waiting == 0)
            assert (sink.status().written, sink.status().refused) == (1, 3)

    run(test)


@needs_mosquitto
@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl: apt-get install openssl")
def test_tls_and_a_password(tmp_path: Path) -> None:
    subprocess.run(
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
        " -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out ca.pem"
        " && chmod 644 key.pem && printf 'gateway:sesame\\n' > users && chmod 600 users"
        " && mosquitto_passwd -U users && chmod 644 users",
        shell=True,
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    password = tmp_path / "password"
    password.write_text("wrong\n", encoding="ascii")
    password.chmod(0o600)
    options = [
        f"certfile {tmp_path}/ca.pem",
        f"keyfile {tmp_path}/key.pem",
        f"password_file {tmp_path}/users",
    ]
    secured: dict[str, Any] = {
        "tls": True,
        "ca_file": "ca.pem",
        "username": "gateway",
        "password_file": "password",
    }

    async def test() -> None:
        async with running(tmp_path, *options) as broker:
            async with started(sink_to(broker.port, tmp_path, **secured)) as sink:
                await until(lambda: sink.status().trouble is not None)
                assert "refuses: Not authorized" in str(sink.status().trouble)
            password.write_text("sesame\n", encoding="ascii")
            async with started(sink_to(broker.port, tmp_path, **secured)) as sink:
                tell(sink, range(3))
                await until(lambda: sink.status().written == 3)
            async with started(
                sink_to(broker.port, tmp_path, **secured | {"ca_file": None})
            ) as sink:
                await until(lambda: sink.status().trouble is not None)
                assert "certificate verify failed" in str(sink.status().trouble)

    run(test)


def test_without_a_broker_the_end_comes_in_time(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        sink = sink_to(1)
        await sink.start()
        tell(sink, range(7))
        began = time.monotonic()
        await sink.stop(0.2)
        assert time.monotonic() - began < 30
        assert (sink.status().dropped, sink.status().waiting) == (7, 0)
        assert "7 events not written in 0.2 s" in caplog.text

    run(test)


def test_without_its_library_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)

    async def test() -> None:
        with pytest.raises(VpError, match=r"needs paho-mqtt: run pip install .*\[mqtt\]"):
            await sink_to(1).start()

    run(test)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"username": "u", "password_file": "open"}, "password file .*: run chmod 600"),
        ({"username": "u", "password_file": "none"}, "cannot read password file .*No such file"),
        ({"username": "u", "password_file": "empty"}, "password file .* holds no password"),
        ({"tls": True, "ca_file": "none"}, r"cannot use .*No such file.*\[sinks.mqtt\] ca_file"),
        ({"tls": True, "ca_file": "open"}, r"cannot use .*; see \[sinks.mqtt\] ca_file"),
    ],
)
def test_files_that_are_no_good(tmp_path: Path, table: dict[str, Any], message: str) -> None:
    (tmp_path / "open").write_text("secret")
    (tmp_path / "open").chmod(0o644)
    (tmp_path / "empty").touch(0o600)

    async def test() -> None:
        sink = sink_to(1, tmp_path, **table)
        with pytest.raises(VpError, match=message):
            await sink.start()
        await sink.stop(10)

    run(test)
