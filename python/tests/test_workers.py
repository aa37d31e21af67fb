"""Three gateways, several workers and a real Mosquitto; workers and the broker are killed."""

from __future__ import annotations

import asyncio
import os
import signal
import urllib.request
from pathlib import Path

import gateway_process
from fleet_factory import make_image
from loopback_nodes import nodes_of, run
from mosquitto_broker import Gate, needs_mosquitto, running
from sink_events import until
from variant_parallelism.gateway import Answer, Gateway
from variant_parallelism.workers import make_spread
from workers_fleet import (
    ANSWER,
    Parts,
    answers_of,
    gateways,
    listening,
    part,
    three_parts,
    worker,
    worker_process,
    write_part,
)

pytestmark = needs_mosquitto

ALL_NODES = [0, 1, 2, 3, 4, 5]


def nodes_in(answer: Answer) -> list[int]:
    return [vote.node for vote in answer.votes]


async def ask(parts: Parts, seed: int) -> Answer:
    """One of the gateways, in turn."""
    gateway = parts.gateways[seed % len(parts.gateways)]
    return await gateway.classify(make_image(parts.fleets[0], seed))


def test_one_answer_from_all_gateways(tmp_path: Path) -> None:
    """Bit-equal to one gateway with all the nodes, whichever gateway is asked and whoever works."""

    async def test() -> None:
        async with (
            running(tmp_path) as broker,
            gateways(three_parts(broker.port), tmp_path) as three,
            worker(three.fleets[0]) as first,
            worker(three.fleets[1]) as second,
        ):
            await three.meet(2)
            await until(lambda: first.partitions + second.partitions == 256)
            answers = await asyncio.gather(*(ask(three, seed) for seed in range(24)))
            for seed, answer in enumerate(answers):
                assert answer.scores.tolist() == three.scores(seed)
                assert (nodes_in(answer), answer.missing, answer.errors) == (ALL_NODES, (), {})
            assert len({answer.uid for answer in answers}) == 24
            assert first.counters.answers + second.counters.answers == 24
            assert min(first.counters.answers, second.counters.answers) > 0
            await until(lambda: three.kept == 0)
            assert (three.count("asked"), three.count("served"), three.count("alone")) == (
                24,
                48,
                0,
            )

    run(test)


def test_a_killed_worker_and_a_killed_broker_lose_nothing(tmp_path: Path) -> None:
    """150 requests; after a third a worker is killed, after two thirds the broker."""

    async def test() -> None:
        async with (
            running(tmp_path) as broker,
            gateways(three_parts(broker.port), tmp_path) as three,
            worker_process(three.fleets[0], tmp_path / "one") as victim,
            worker_process(three.fleets[0], tmp_path / "two"),
            listening(broker, ANSWER) as listener,
        ):
            await three.meet(2)
            seeds = iter(range(150))
            replies: dict[int, Answer] = {}

            async def keep_asking(gateway: Gateway) -> None:
                for seed in seeds:
                    image = make_image(three.fleets[0], seed)
                    replies[seed] = await gateway.classify(image, deadline_ms=5000)
                    if seed == 50:
                        os.kill(victim.pid, signal.SIGKILL)
                    if seed == 100:
                        broker.kill()
                        broker.start()

            await asyncio.gather(*(keep_asking(three.gateways[n % 3]) for n in range(9)))
            await until(lambda: three.kept == 0)
            published = answers_of(listener)
            assert len(replies) == len({answer["uid"] for answer in published}) == 150
            whole = [seed for seed in replies if nodes_in(replies[seed]) == ALL_NODES]
            assert len(whole) > 50
            for seed, reply in replies.items():
                assert reply.class_index is not None
                assert seed not in whole or reply.scores.tolist() == three.scores(seed)
            assert (three.count("expired"), three.count("displaced")) == (0, 0)
            await three.meet(1)
            assert nodes_in(await ask(three, 0)) == ALL_NODES
            latencies = sorted(reply.latency_ms for reply in replies.values())
            print(
                f"150 requests: 0 lost, {len(published) - 150} published twice, "
                f"{three.count('alone')} answered by one gateway alone, {len(whole)} by all; "
                f"median {latencies[75]:.0f} ms, slowest {latencies[-1]:.0f} ms"
            )

    run(test)


def test_a_worker_that_hangs_is_replaced_and_may_come_back(tmp_path: Path) -> None:
    """Its connection stays open: only its silence tells."""

    async def test() -> None:
        async with (
            running(tmp_path) as broker,
            gateways(three_parts(broker.port), tmp_path) as three,
            worker_process(three.fleets[0], tmp_path / "one") as frozen,
            worker(three.fleets[0]) as other,
            listening(broker, ANSWER) as listener,
        ):
            await three.meet(2)
            await until(lambda: 0 < other.partitions < 256)
            frozen.send_signal(signal.SIGSTOP)
            replies = await asyncio.gather(*(ask(three, seed) for seed in range(12)))
            assert [nodes_in(reply) for reply in replies] == [ALL_NODES] * 12
            assert {reply.uid for reply in replies} <= {a["uid"] for a in answers_of(listener)}
            assert other.partitions == 256
            frozen.send_signal(signal.SIGCONT)
            await three.meet(2)
            await until(lambda: other.partitions < 256)
            replies = await asyncio.gather(*(ask(three, seed) for seed in range(12)))
            assert [nodes_in(reply) for reply in replies] == [ALL_NODES] * 12

    run(test)


def test_without_a_worker_gateways_answer_alone_and_keep_their_votes(tmp_path: Path) -> None:
    """Who asked has an answer at once; the fleet's is published when a worker comes."""

    async def test() -> None:
        async with (
            running(tmp_path) as broker,
            gateways(three_parts(broker.port), tmp_path) as three,
            listening(broker, ANSWER) as listener,
        ):
            await three.meet(0)
            replies = [await ask(three, seed) for seed in range(3)]
            assert [nodes_in(reply) for reply in replies] == [[0, 1], [2, 3], [4, 5]]
            assert all(reply.uid is None for reply in replies)
            await until(lambda: three.kept == 9)
            async with worker(three.fleets[0]):
                await until(lambda: three.kept == 0)
                await until(lambda: len(answers_of(listener)) == 3)
            scores = sorted(answer["scores"] for answer in answers_of(listener))
            assert scores == sorted(three.scores(seed) for seed in range(3))
            assert (three.count("alone"), three.count("expired")) == (3, 0)

    run(test)


def test_votes_nobody_wants_expire(tmp_path: Path) -> None:
    async def test() -> None:
        async with (
            running(tmp_path) as broker,
            gateways(
                [part([0, 1], "a", broker.port, validity_s=1, deadline_ms=500)], tmp_path
            ) as a,
        ):
            await a.meet(0)
            await ask(a, 0)
            await until(lambda: a.count("expired") == 1)
            assert a.kept == 0

    run(test)


def test_a_gateway_that_dies_is_not_waited_for(tmp_path: Path) -> None:
    """Its nodes are missing, and the answer comes long before the deadline."""

    async def test() -> None:
        async with running(tmp_path) as broker:
            gate = Gate(broker)
            await gate.open()
            fleets = [*three_parts(broker.port)[:2], part([4, 5], "c", gate.port)]
            async with gateways(fleets, tmp_path) as three, worker(fleets[0]):
                await three.meet(1)
                for node in (4, 5):
                    three.nodes[node].compute_s = 600
                asked = asyncio.create_task(ask(three, 0))
                await until(lambda: three.spreads[2].counters.served == 1)
                await gate.cut()
                answer = await asked
                assert (nodes_in(answer), answer.missing) == ([0, 1, 2, 3], (4, 5))
                assert answer.latency_ms < 20_000

    run(test)


def test_triggers_go_to_all_gateways(tmp_path: Path) -> None:
    """Also to one whose own nodes have nothing to capture with."""

    async def test() -> None:
        async with (
            running(tmp_path) as broker,
            gateways(three_parts(broker.port), tmp_path, sensors=[2, 3, 5]) as three,
            worker(three.fleets[0]),
        ):
            await three.meet(1)
            for gateway in three.gateways:
                answer = await gateway.trigger()
                assert (nodes_in(answer), answer.triggered) == ([2, 3, 5], True)

    run(test)


def test_a_node_that_a_reload_adds_votes_at_once(tmp_path: Path) -> None:
    async def test() -> None:
        async with running(tmp_path) as broker:
            whole = part([0, 1], "a", broker.port, heartbeat_s=60.0)
            fewer = whole.with_nodes(whole.nodes[:1], whole.table.gateway)
            async with (
                nodes_of(whole, {}),
                Gateway(fewer, state_dir=tmp_path) as gateway,
                make_spread(gateway, fewer) as spread,
                worker(whole),
            ):
                assert spread is not None
                await until(lambda: spread.is_served)
                await gateway.reload(whole)
                assert await gateway.wait_for_nodes(2, 30) == 2
                answer = await gateway.classify(make_image(whole))
                assert (nodes_in(answer), answer.uid is None) == ([0, 1], False)

    run(test)


def test_vp_gateway_shares_what_its_http_api_is_asked(tmp_path: Path) -> None:
    """A process with its own nodes, beside another gateway."""

    async def test() -> None:
        async with running(tmp_path) as broker:
            fleets = three_parts(broker.port)[:2]
            path = write_part(fleets[0], tmp_path / "process")
            async with (
                gateways(fleets[1:], tmp_path) as other,
                worker(fleets[1]),
                nodes_of(fleets[0], {}),
                gateway_process.gateway_of(path) as gateway,
            ):
                await gateway.up(2)
                await until(lambda: other.spreads[0].gateways() == ["a", "b"])
                await until(lambda: other.spreads[0].is_served)
                answer = await gateway.classify(3)
                assert [vote["node"] for vote in answer["votes"]] == [0, 1, 2, 3]
                assert (len(answer["uid"]), answer["missing"]) == (32, [])
                assert other.count("served") == 1
                url = f"http://{gateway.fleet.table.gateway.http}/metrics"
                metrics = await asyncio.to_thread(lambda: urllib.request.urlopen(url).read())
                assert b"\nvp_shared_asked_total 1\n" in metrics

    run(test)
