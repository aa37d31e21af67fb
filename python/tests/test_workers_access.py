"""Who may say what to gateways and workers, and what asking through the broker is like."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from pydantic import ValidationError
from typer.testing import CliRunner

from fleet_factory import make_image, write_fleet_file
from free_ports import free_ports
from gateway_process import VP
from loopback_nodes import run
from mosquitto_broker import Broker, Listener, needs_mosquitto, running
from sink_events import until
from variant_parallelism.cli import app
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet
from variant_parallelism.mqtt_client import properties
from variant_parallelism.workers import BrokerClient
from variant_parallelism.workers import asking as asking_module
from variant_parallelism.workers.address import table_for
from variant_parallelism.workers.messages import RequestMessage
from variant_parallelism.workers.seal import PROPERTY, Seal
from variant_parallelism.workers_table import WorkersTable
from workers_fleet import (
    ANSWER,
    gateways,
    listening,
    part,
    three_parts,
    worker,
    write_part,
)


def client(fleet: Fleet, wait_s: float = 20.0) -> BrokerClient:
    assert fleet.table.workers is not None
    return BrokerClient(fleet, fleet.table.workers, wait_s=wait_s)


def say_again(broker: Broker, heard: Listener, topic: str, payload: bytes) -> None:
    """Publish under a tag that was heard elsewhere."""
    tag = Seal(bytes(32)).tag(topic, payload)
    heard._client.publish(
        topic, payload, qos=1, properties=properties("PUBLISH", UserProperty=(PROPERTY, tag))
    )


@needs_mosquitto
def test_without_the_key_nobody_is_heard(tmp_path: Path) -> None:
    """Questions, votes, answers and presence without a tag, or with one of another key."""

    async def test() -> None:
        async with (
            running(tmp_path) as broker,
            gateways(three_parts(broker.port), tmp_path) as three,
            worker(three.fleets[0]) as one,
            listening(broker, "vp/simulated/#") as spy,
        ):
            await three.meet(1)
            answer = await three.gateways[0].classify(make_image(three.fleets[0]))
            assert answer.uid is not None
            await until(lambda: bool(spy.of(ANSWER)))
            served = three.count("served")
            overheard = [(topic, payload) for topic, payload, _ in spy.heard]
            request = RequestMessage(uid="forged-0001", k=2, shape=(1, 1, 1), image=b"\0")
            overheard.append(("vp/simulated/request", request.encode()))
            for topic, payload in overheard:
                spy.say(topic, payload.decode())
                say_again(broker, spy, topic, payload)
            kinds = {topic.split("/")[2] for topic, _ in overheard}
            assert kinds == {"request", "votes", "answer", "gateway", "worker"}
            await until(lambda: one.counters.forged > 0 and three.count("forged") > 0)
            again = await three.gateways[0].classify(make_image(three.fleets[0], 1))
            assert again.scores.tolist() == three.scores(1)
            assert three.count("served") == served + 2
            assert (one.counters.malformed, three.count("malformed")) == (0, 0)

    run(test)


@needs_mosquitto
def test_without_a_key_garbage_is_counted(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            running(tmp_path) as broker,
            gateways(three_parts(broker.port, key=None), tmp_path) as three,
            worker(three.fleets[0]) as one,
            listening(broker) as spy,
        ):
            await three.meet(1)
            for topic in ("request", "answer", "gateway/a", "worker/w", "votes/3"):
                for garbage in ("", "{}", "[" * 5000, '{"version":1}', "\x00"):
                    spy.say(f"vp/simulated/{topic}", garbage)
            await until(lambda: one.counters.malformed == 20 and three.count("malformed") == 60)
            answer = await three.gateways[0].classify(make_image(three.fleets[0]))
            assert answer.scores.tolist() == three.scores(0)

    run(test)


@needs_mosquitto
def test_asking_through_the_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several at once; with the wrong key there is no answer."""

    async def test() -> None:
        async with (
            running(tmp_path) as broker,
            gateways(three_parts(broker.port), tmp_path) as three,
            worker(three.fleets[0]),
        ):
            await three.meet(1)
            fleet = three.fleets[2]
            async with client(fleet) as asking:
                answers = await asyncio.gather(
                    *(asking.classify(make_image(fleet, seed), label=seed) for seed in range(8))
                )
                with pytest.raises(VpError, match="k must be 1 to 10"):
                    await asking.classify(make_image(fleet), k=11)
                monkeypatch.setattr(asking_module, "MAX_MESSAGE", 300)
                with pytest.raises(VpError, match="an image of 256 bytes is too large"):
                    await asking.classify(make_image(fleet))
                monkeypatch.undo()
            for seed, answer in enumerate(answers):
                assert (answer.scores.tolist(), answer.label) == (three.scores(seed), seed)
            async with client(replace(fleet, key=bytes(32)), wait_s=0.3) as stranger:
                with pytest.raises(VpError, match="is a `vp aggregate` running"):
                    await stranger.classify(make_image(fleet), deadline_ms=1)
                assert three.count("forged") > 0

    run(test)


@needs_mosquitto
def test_a_question_asked_before_the_broker_is_there(tmp_path: Path) -> None:
    async def test() -> None:
        broker = Broker(tmp_path)
        fleets = three_parts(broker.port)
        try:
            async with (
                gateways(fleets, tmp_path) as three,
                worker(fleets[0]),
                client(fleets[0]) as asking,
            ):
                asked = asyncio.create_task(asking.classify(make_image(fleets[0])))
                broker.start()
                answer = await asked
                assert answer.class_index is not None
                await three.meet(1)
        finally:
            broker.kill()

    run(test)


@needs_mosquitto
def test_vp_classify_by_broker(tmp_path: Path) -> None:
    """The command itself, beside gateways and a worker."""
    picture = tmp_path / "picture.png"

    async def test() -> None:
        async with (
            running(tmp_path) as broker,
            gateways(three_parts(broker.port), tmp_path) as three,
            worker(three.fleets[0]),
        ):
            await three.meet(1)
            Image.fromarray(make_image(three.fleets[0])[:, :, 0]).save(picture)
            path = write_part(three.fleets[0], tmp_path / "client")
            process = await asyncio.create_subprocess_exec(
                *(*VP, "classify", "--mqtt", f"mqtt://127.0.0.1:{broker.port}", "--json"),
                *(str(path), str(picture)),
                stdout=asyncio.subprocess.PIPE,
            )
            out, _ = await process.communicate()
            (answer,) = json.loads(out)
            assert len(answer["votes"]) == 6
            assert answer["scores"] == pytest.approx(three.scores(0), abs=1e-6)

    run(test)


@needs_mosquitto
def test_two_gateways_of_one_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        async with running(tmp_path) as broker:
            fleets = [part([0, 1], "a", broker.port), part([2, 3], "a", broker.port)]
            async with (
                gateways(fleets[:1], tmp_path / "one"),
                gateways(fleets[1:], tmp_path / "two"),
            ):
                await until(lambda: "if another gateway calls itself 'a'" in caplog.text)
                assert caplog.text.count("trying again") <= 6

    run(test)


@needs_mosquitto
def test_what_the_broker_forbids_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    users = tmp_path / "users"
    users.write_text("", encoding="ascii")

    async def test() -> None:
        async with (
            running(tmp_path, f"password_file {users}", "allow_anonymous false") as broker,
            gateways([part([0, 1], "a", broker.port)], tmp_path) as one,
        ):
            await until(lambda: "refuses: Not authorized" in caplog.text)
            answer = await one.gateways[0].classify(make_image(one.fleets[0]))
            assert ([vote.node for vote in answer.votes], answer.uid) == ([0, 1], None)

    run(test)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (None, r"has no \[workers\]: add the table, or say --mqtt URL"),
        ("http://broker", "is no URL such as mqtt://"),
        ("mqtt://", "is no URL such as mqtt://"),
        ("mqtt://host:99999", "is no URL: Port out of range"),
        ("mqtt://host/topic", "is no URL such as mqtt://"),
        ("mqtt://user:secret@host", "takes no password"),
        ("mqtt://1.2.3", "neither a host name nor an address"),
    ],
)
def test_addresses_that_are_none(tmp_path: Path, url: str | None, message: str) -> None:
    nodes: list[dict[str, object]] = [
        {"id": 0, "variant": "v0", "board": "mps2-an386", "udp": "127.0.0.1:5000"}
    ]
    path = write_fleet_file(tmp_path, nodes)
    options = [] if url is None else ["--mqtt", url]
    result = CliRunner().invoke(app, ["aggregate", *options, str(path)])
    assert isinstance(result.exception, VpError)
    assert result.exception.args[0].count("\n") == 0
    with pytest.raises(VpError, match=message):
        raise result.exception


def test_an_address_replaces_the_table_s() -> None:
    fleet = part([0], "a", 1883, username="worker", tls=True, ca_file="ca.pem", grace_ms=7)
    plain = table_for(fleet, "mqtt://else.where")
    assert (plain.host, plain.port_used, plain.tls, plain.ca_file) == (
        "else.where",
        1883,
        False,
        None,
    )
    assert (plain.username, plain.grace_ms, plain.gateway) == ("worker", 7, "a")
    secure = table_for(fleet, "mqtts://me@else.where")
    assert (secure.port_used, secure.tls, secure.ca_file, secure.username) == (
        8883,
        True,
        "ca.pem",
        "me",
    )


def test_without_its_library_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "paho.mqtt.client", None)

    async def test() -> None:
        with pytest.raises(VpError, match=r"\[workers\] needs paho-mqtt: run pip install"):
            async with worker(part([0], "a", 1)):
                pass

    run(test)


@needs_mosquitto
@pytest.mark.skipif(shutil.which("mosquitto_passwd") is None, reason="no mosquitto_passwd")
def test_the_access_rules_of_the_manual_suffice(tmp_path: Path) -> None:
    """Gateways, worker and client may say what they must, and nothing else."""
    manual = (Path(__file__).parents[2] / "docs" / "workers.md").read_text(encoding="utf-8")
    rules = manual.partition("# /etc/mosquitto/acl\n")[2].partition("```")[0]
    (tmp_path / "acl").write_text(rules.replace("vp/digits", "vp/simulated"), encoding="utf-8")
    names = ("gateway", "worker", "client")
    users = "".join(f"{name}:secret-{name}\n" for name in names)
    (tmp_path / "users").write_text(users, encoding="ascii")
    (tmp_path / "users").chmod(0o600)
    subprocess.run(["mosquitto_passwd", "-U", "users"], cwd=tmp_path, check=True)
    for name in names:
        (tmp_path / name).write_text(f"secret-{name}", encoding="ascii")
        (tmp_path / name).chmod(0o600)
    options = [f"acl_file {tmp_path}/acl", f"password_file {tmp_path}/users"]

    def as_user(fleet: Fleet, name: str) -> Fleet:
        assert fleet.table.workers is not None
        access = {"username": name, "password_file": str(tmp_path / name)}
        workers = fleet.table.workers.model_copy(update=access)
        return replace(fleet, table=fleet.table.model_copy(update={"workers": workers}))

    async def test() -> None:
        async with running(tmp_path, *options) as broker:
            fleets = three_parts(broker.port)
            async with (
                gateways([as_user(fleet, "gateway") for fleet in fleets], tmp_path) as three,
                worker(as_user(fleets[0], "worker")),
                client(as_user(fleets[0], "client")) as asking,
            ):
                await three.meet(1)
                answer = await three.gateways[0].classify(make_image(fleets[0]))
                assert (answer.scores.tolist(), answer.uid is None) == (three.scores(0), False)
                answer = await asking.classify(make_image(fleets[0], 1))
                assert answer.scores.tolist() == three.scores(1)
                async with client(as_user(fleets[0], "worker"), 0.3) as stranger:
                    with pytest.raises(VpError, match="no answer"):
                        await stranger.classify(make_image(fleets[0], 2), deadline_ms=1)

    run(test)


def test_a_broker_that_is_away_is_named_once(tmp_path: Path) -> None:
    (port,) = free_ports(socket.SOCK_STREAM, 1)

    async def test() -> None:
        fleet = three_parts(port)[0]
        async with client(fleet, wait_s=0.2) as asking:
            with pytest.raises(VpError) as told:
                await asking.classify(make_image(fleet), deadline_ms=100)
        assert str(told.value).startswith("no broker: ")
        assert str(told.value).count(f"127.0.0.1:{port}") == 1

    run(test)


@pytest.mark.parametrize("name", ["", "a b", "_x", "x" * 64, "a/b", "k\u00fcche", "a\n"])
def test_a_gateways_name_that_is_none(name: str) -> None:
    with pytest.raises(ValidationError, match="is no name of a gateway: 1 to 63 letters of ASCII"):
        WorkersTable(host="broker", gateway=name)
    assert WorkersTable(host="broker", gateway="desk-2.lab").gateway == "desk-2.lab"
