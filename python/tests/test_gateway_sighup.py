"""SIGHUP on a real gateway: under load, with broken files, and as systemd sends it."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from gateway_process import LIMIT_S, GatewayProcess, gateway_of, write_loopback
from loopback_nodes import nodes_of, run
from variant_parallelism.fleet import load_fleet


async def reloaded(gateway: GatewayProcess, path: Path, text: str) -> dict[str, Any]:
    path.write_text(text)
    gateway.process.send_signal(signal.SIGHUP)
    return await gateway.event("reloaded")


def test_reloads_under_load_lose_no_answer(tmp_path: Path) -> None:
    async def test() -> None:
        path = write_loopback(tmp_path, udp=3)
        whole = path.read_text()
        without = whole[: whole.index("[[nodes]]\nid = 2")]
        answers: list[Any] = []

        async with nodes_of(load_fleet(path), {}), gateway_of(path) as gateway:
            await gateway.up(3)
            over = asyncio.Event()

            async def ask(seed: int) -> None:
                while not over.is_set():
                    answers.append(await gateway.classify(seed))

            asking = [asyncio.create_task(ask(seed)) for seed in range(4)]
            for turn in range(3):
                told = await reloaded(gateway, path, without)
                assert told["text"].startswith("node 2 removed")
                assert {node["id"] for node in (await gateway.get("/v1/nodes"))["nodes"]} == {0, 1}
                told = await reloaded(gateway, path, whole)
                assert told["text"] == "node 2 added"
                await gateway.up(3)
                sinks = '[sinks.jsonl]\npath = "events.jsonl"\n' if turn == 1 else ""
                told = await reloaded(gateway, path, whole + sinks)
                assert told["text"] == "the same nodes" + ("; sinks: jsonl" if sinks else "")
            count = len(answers)
            while len(answers) < count + 8:
                await asyncio.sleep(0.01)
            over.set()
            await asyncio.gather(*asking)
            assert all({0, 1} <= {vote["node"] for vote in a["votes"]} for a in answers)
            assert len((await gateway.classify())["votes"]) == 3
            counts = await gateway.get("/v1/counters")
            assert (counts["lost"], counts["answers"]) == (0, len(answers) + 1)
            assert await gateway.ended() == 0
        assert (tmp_path / "events.jsonl").stat().st_size > 0

    run(test)


def test_a_file_that_cannot_be_applied_changes_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        path = write_loopback(tmp_path)
        good = path.read_text()
        bad = {
            "k = \n": "Invalid value",
            good.replace("id = 1\n", "id = 0\n"): "two nodes have id 0",
            good.replace('name = "simulated"', 'name = "other"'): "name: changed; restart to apply",
            good + '[sinks.sqlite]\npath = "no/such/events.db"\n': "cannot write ",
            good.replace("[gateway]", '[gateway]\ntoken_file = "nowhere"'): "nowhere",
        }
        async with nodes_of(load_fleet(path), {}), gateway_of(path) as gateway:
            await gateway.up(2)
            for text, why in bad.items():
                # What could be applied of it is not, either.
                other = text.replace('variant = "v1"', 'variant = "v0"')
                path.write_text(other.replace("id = 7\n", "id = 7\nk = 1\n", 1))
                gateway.process.send_signal(signal.SIGHUP)
                told = await gateway.event("not reloaded")
                assert why in told["text"]
                assert told["level"] == "error"
                assert "\n" not in told["text"]
                answer = await gateway.classify()
                assert [len(vote["entries"]) for vote in answer["votes"]] == [2, 2]
            leave_out = Request(
                f"http://{gateway.fleet.table.gateway.http}/v1/nodes/1/quarantine",
                b'{"on": true}',
                {"Content-Type": "application/json"},
            )
            await asyncio.to_thread(urlopen, leave_out, timeout=LIMIT_S)
            assert (await gateway.event("node", node=1, state="quarantined"))["variant"] == "v1"
            told = await reloaded(gateway, path, good.replace("id = 7\n", "id = 7\nk = 1\n", 1))
            assert told["text"] == "the same nodes; settings: k"
            assert {len(vote["entries"]) for vote in (await gateway.classify())["votes"]} == {1}
            assert await gateway.ended() == 0

    run(test)


def test_systemd_hears_of_a_reload(tmp_path: Path) -> None:
    async def test() -> None:
        path = write_loopback(tmp_path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(str(tmp_path / "notify"))
            systemd.settimeout(LIMIT_S)
            told = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
            async with gateway_of(path, env=told) as gateway:
                heard: list[str] = []

                async def hear(what: str) -> None:
                    while not heard or not heard[-1].startswith(what):
                        heard.append((await asyncio.to_thread(systemd.recv, 1024)).decode())

                await hear("READY=1")
                for text in (path.read_text(), "broken"):
                    path.write_text(text)
                    gateway.process.send_signal(signal.SIGHUP)
                    await hear("RELOADING=1\nMONOTONIC_USEC=")
                    await hear("READY=1")
                assert await gateway.ended() == 0

    run(test)
