"""`vp.Client` and `vp.AsyncClient` beside a gateway, and beside what is none."""

from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import variant_parallelism as vp
from fleet_factory import make_image
from served_gateway import NODES, Served, serve
from simulated_fleet import entries_of
from variant_parallelism.gateway.types import Answer
from variant_parallelism.images import encode_png


def test_both_clients_say_the_same(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        image = make_image(served.fleet)
        file = tmp_path / "image.png"
        file.write_bytes(encode_png(image))
        expected = [list(entries_of(node, image.tobytes(), 3, 10)) for node in range(NODES)]

        def sync() -> list[object]:
            with vp.Client(served.url) as client:
                answers = [
                    client.classify(asked, k=3, label="c2")
                    for asked in (image, image[:, :, 0], file.read_bytes(), file, str(file))
                ]
                picture = client.picture(answers[-1].request)
                assert picture == file.read_bytes()
                fleet, nodes, counters = client.fleet(), client.nodes(), client.counters()
                history = client.history("10min", node=1)
                quarantined = client.quarantine(1, True, "why not")
                again = client.quarantine(1, False)
            for answer in answers:
                assert [vote.entries for vote in answer.votes] == expected
                assert (answer.label, answer.missing) == (2, [])
            assert (quarantined.state, quarantined.reason) == ("quarantined", "why not")
            assert again.state == "up"
            assert history["node"]["id"] == 1
            assert counters.answers == 5 and counters.http.requests > 5
            return [fleet, [(node.id, node.address, node.transport) for node in nodes]]

        async with vp.AsyncClient(served.url) as client:
            said = await asyncio.to_thread(sync)
            for asked in (image, image[:, :, 0], file.read_bytes(), file, str(file)):
                answer = await client.classify(asked, k=3)
                assert [vote.entries for vote in answer.votes] == expected
            nodes = [(node.id, node.address, node.transport) for node in await client.nodes()]
            assert [await client.fleet(), nodes] == said
            assert await client.picture(answer.request) == file.read_bytes()
            assert (await client.counters()).answers == 10
            assert (await client.history("day"))["span"] == "day"

    serve(tmp_path, test)


def test_a_trigger_reaches_the_nodes_with_a_sensor(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        async with vp.AsyncClient(served.url) as client:
            with pytest.raises(vp.GatewayError, match="the gateway refuses: ") as refusal:
                await client.trigger()
            assert refusal.value.status == 400
            for node in served.nodes.nodes.values():
                node.sensor = True
                node.reboot()
            while True:
                nodes = await client.nodes()
                if all(node.state == "up" and node.hello and node.hello.sensor for node in nodes):
                    break
                await asyncio.sleep(0.02)
            answer = await client.trigger(k=2, deadline_ms=20_000)
            assert answer.triggered
            assert len(answer.votes) == NODES
            assert served.nodes.nodes[0].captures

    serve(tmp_path, test)


def test_the_fleets_deadline_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(served: Served) -> None:
        async def deadline_of(client: vp.AsyncClient) -> float:
            await client.classify(make_image(served.fleet))
            return client._deadline.learn(client._deadline._ms)

        async with vp.AsyncClient(served.fleet) as client:
            assert await deadline_of(client) == served.fleet.table.deadline_ms
            table = served.gateway.fleet.table.model_copy(update={"deadline_ms": 30_000})
            served.gateway.fleet = dataclasses.replace(served.gateway.fleet, table=table)
            assert await deadline_of(client) == served.fleet.table.deadline_ms
            # A minute later.
            monkeypatch.setattr(client._deadline, "_until", time.monotonic())
            assert await deadline_of(client) == 30_000

    serve(tmp_path, test)


def test_a_busy_gateway_says_when_to_try_again(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        release = asyncio.Event()
        real: Callable[..., Any] = served.gateway.classify

        async def held(*arguments: Any, **named: Any) -> Answer:
            await release.wait()
            answer: Answer = await real(*arguments, **named)
            return answer

        served.gateway.classify = held  # type: ignore[method-assign]
        image = make_image(served.fleet)
        async with vp.AsyncClient(served.fleet) as client:
            going = asyncio.ensure_future(client.classify(image))
            while served.server.counters.in_flight == 0:
                await asyncio.sleep(0.01)
            with pytest.raises(vp.GatewayError, match="1 requests are in flight") as busy:
                await client.classify(image)
            assert (busy.value.status, busy.value.retry_after) == (429, 1.0)
            release.set()
            assert (await going).class_index is not None

    serve(tmp_path, test, max_in_flight=1)


def test_a_client_with_many_calls_makes_them_wait_for_their_turn(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        image = make_image(served.fleet)
        for node in served.nodes.nodes.values():
            node.compute_s = 0.0
        async with vp.AsyncClient(served.fleet) as client:
            answers = await asyncio.gather(*(client.classify(image) for _ in range(40)))
            assert all(answer.class_index is not None for answer in answers)
            assert served.server.counters.busy == 0

    serve(tmp_path, test, max_in_flight=32)


def test_no_answer_is_an_answer(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        async with vp.AsyncClient(served.fleet) as client:
            answer = await client.classify(make_image(served.fleet), deadline_ms=20)
            assert (answer.class_index, answer.missing) == (None, [0, 1])

    serve(tmp_path, test, alive=False)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4)), r"the image is float64 of shape \(4, 4\): give uint8"),
        (np.zeros((1, 4, 4, 1), np.uint8), r"the image is uint8 of shape \(1, 4, 4, 1\)"),
        ("/none/at/all.png", "cannot read image /none/at/all.png: No such file"),
        ("a\0b", "cannot read image 'a.x00b': "),
    ],
)
def test_mistakes_are_told_before_anything_is_sent(image: Any, message: str) -> None:
    with vp.Client("http://127.0.0.1:1") as client:
        with pytest.raises(vp.VpError, match=message) as problem:
            client.classify(image)
        assert "\n" not in str(problem.value)


@pytest.mark.parametrize(
    ("gateway", "message"),
    [
        ("http://127.0.0.1:1", "the gateway at http://127.0.0.1:1 does not answer: "),
        ("http://nobody.invalid:8470", "the gateway at http://nobody.invalid:8470 does not answer"),
        ("http://[::1", "is no address of a gateway"),
        ("http://127.0.0.1:99999", "is no address of a gateway: ports are 1 to 65535"),
        ("http://127.0.0.1:0", "is no address of a gateway: ports are 1 to 65535"),
        ("/none/fleet.toml", "cannot read /none/fleet.toml: No such file"),
        ("127.0.0.1:8470", "cannot read 127.0.0.1:8470: No such file"),
    ],
)
def test_where_no_gateway_is(gateway: str, message: str) -> None:
    with pytest.raises(vp.VpError, match=message) as problem, vp.Client(gateway) as client:
        client.nodes()
    assert "\n" not in str(problem.value)
    with pytest.raises(vp.VpError, match=message), vp.Client(gateway) as client:
        next(client.events())


def test_the_client_is_loaded_only_when_asked_for() -> None:
    program = (
        "import sys, variant_parallelism as vp\n"
        "assert 'httpx' not in sys.modules\n"
        "vp.Client\n"
        "assert 'httpx' in sys.modules\n"
        "assert 'fastapi' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        vp.Clint  # noqa: B018
