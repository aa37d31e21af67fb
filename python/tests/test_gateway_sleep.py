"""A gateway that did not run for a while, and clocks that jump: nothing but labels goes by them."""

from __future__ import annotations

import asyncio
import heapq
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fleet_factory import make_fleet, make_image
from gateway_process import VP, GatewayProcess, gateway_of, write_loopback
from loopback_nodes import loopback_fleet, nodes_of, run
from simulated_fleet import SimulatedNode, World, ready, states
from variant_parallelism.fleet import Fleet, load_fleet
from variant_parallelism.gateway import Gateway, NodeChanged
from variant_parallelism.gateway.judging.plans import Plan, caught_up_at

STOPPED_S = 2.5


class SleepyWorld(World):
    """A gateway that can stand still, while what is sent to it waits as in a socket."""

    def __init__(self, fleet: Fleet) -> None:
        self.asleep = False
        self.unread: deque[Callable[[], None]] = deque(maxlen=200)
        super().__init__(fleet)

    def _arrive(self, node: int, serial: bool, data: bytes) -> None:
        if self.asleep:
            self.unread.append(lambda: World._arrive(self, node, serial, data))
        else:
            super()._arrive(node, serial, data)

    def sleep(
        self, seconds: float, *, nodes_too: bool, timer_first: bool, read_gap_s: float = 0.0
    ) -> None:
        """Stop the gateway for so long; `nodes_too`: only the clock goes on. `read_gap_s` is what
        it needs then to read a message."""
        self.asleep = True
        limit = self.now + seconds
        while not nodes_too and self._queue and self._queue[0][0] <= limit:
            self.now = self._queue[0][0]
            self._next()
        if nodes_too:
            self._queue = [(when + seconds, order, action) for when, order, action in self._queue]
        self.now, self.asleep = limit, False
        if timer_first:
            self.core.poll(self.now)
        while self.unread:
            self.now += read_gap_s
            self.unread.popleft()()
            self.core.poll(self.now)
        self.core.poll(self.now)
        self._collect()

    def _next(self) -> None:
        heapq.heappop(self._queue)[2]()


@pytest.mark.parametrize(
    ("seconds", "nodes_too"), [(4.0, False), (60.0, False), (60.0, True), (86_400.0, True)]
)
@pytest.mark.parametrize("timer_first", [False, True], ids=["io first", "timer first"])
def test_after_a_sleep_nobody_is_called_dead(
    seconds: float, nodes_too: bool, timer_first: bool
) -> None:
    world = SleepyWorld(make_fleet(serial=2, udp=8, deadline_ms=2000))
    ready(world)
    world.nodes[0].compute_s = 1.0
    request = world.submit(make_image(world.fleet))
    world.run(0.3)
    before = len(world.events)
    world.sleep(seconds, nodes_too=nodes_too, timer_first=timer_first)
    world.run(10)
    assert [e for e in world.events[before:] if isinstance(e, NodeChanged)] == []
    assert set(states(world).values()) == {"up"}
    # What was in flight has ended, once, with the votes that were there in time.
    (answer,) = (answer for answer in world.answers() if answer.request == request)
    assert len(answer.votes) >= 8
    assert world.classify(make_image(world.fleet, 1)).missing == ()


def test_a_node_that_died_meanwhile_is_noticed() -> None:
    world = SleepyWorld(make_fleet())
    ready(world)
    world.nodes[1].alive = False
    world.sleep(60, nodes_too=True, timer_first=True)
    world.run(3)
    assert states(world)[1] == "dead"
    assert world.classify(make_image(world.fleet)).missing == (1,)


def _standing(timer_first: bool, read_gap_s: float) -> tuple[SleepyWorld, int]:
    """A gateway that stood still from before the votes came until after the deadline; it reads what
    came in so long a time, each."""
    world = SleepyWorld(make_fleet(serial=2, udp=8, deadline_ms=2000))
    ready(world)
    for node in world.nodes.values():
        node.compute_s = 1.0
    request = world.submit(make_image(world.fleet))
    world.run(0.3)
    world.sleep(4.0, nodes_too=False, timer_first=timer_first, read_gap_s=read_gap_s)
    return world, request


@pytest.mark.parametrize("timer_first", [False, True], ids=["io first", "timer first"])
@pytest.mark.parametrize("read_gap_s", [0.0, 0.001], ids=["at once", "one by one"])
def test_votes_that_came_before_the_deadline_count_though_they_are_read_after_it(
    timer_first: bool, read_gap_s: float
) -> None:
    world, request = _standing(timer_first, read_gap_s)
    world.run(1)
    (answer,) = world.answers()
    assert (answer.request, len(answer.votes), answer.missing) == (request, 10, ())
    assert world.core.counters.late == 0


def test_a_flood_keeps_no_request_open_after_its_deadline() -> None:
    world, _ = _standing(True, 0.01)
    world.nodes[9].alive = False
    start = world.now
    world.submit(make_image(world.fleet, 1), deadline_s=0.5)
    while len(world.answers()) < 2:
        # Late each time, too.
        world.now += 0.06
        world.core.datagram(world.now, None, b"flood")
        world.core.poll(world.now)
        world._collect()
        assert world.now - start < 0.5 + 0.4


def test_one_deadline_is_put_off_once_and_by_little() -> None:
    for stood_s, put_off_s in [(0.0, 0.0), (0.01, 0.02), (3600.0, 0.5)]:
        assert caught_up_at(10.0 + stood_s, 10.0) == pytest.approx(10.0 + stood_s + put_off_s)
    for plan in (Plan(hurry_at=10.0), Plan(first=np.array([0]), widen_at=10.0)):
        plan.catch_up(10.01)
        assert plan.wake_at(100.0) == 10.0
        plan.catch_up(12.0)
        assert plan.wake_at(100.0) == 12.5
        plan.catch_up(14.0)
        assert plan.wake_at(100.0) == 12.5


ONE_BY_ONE = (
    "from variant_parallelism.gateway import udp_link; udp_link.HAS_BATCHES = False; "
    "from variant_parallelism.cli import main; main()"
)


@pytest.mark.parametrize("program", [VP, (sys.executable, "-c", ONE_BY_ONE)], ids=["as is", "slow"])
def test_a_process_that_is_stopped_and_goes_on(tmp_path: Path, program: tuple[str, ...]) -> None:
    async def test() -> None:
        path = write_loopback(tmp_path, serial=1, hello_ms=300)
        async with (
            nodes_of(load_fleet(path), {}) as nodes,
            gateway_of(path, program=program) as gateway,
        ):
            # They say HELLO every second: often enough for this gateway only with an answer.
            for node in nodes.nodes.values():
                node.compute_s = 0.5

            async def say() -> None:
                while True:
                    for node in nodes.nodes.values():
                        node.send(node.hello())
                    await asyncio.sleep(0.1)

            saying = asyncio.create_task(say())
            await gateway.up(3)
            # Longer than the deadline of one of them, whose votes come meanwhile.
            asking = [asyncio.create_task(gateway.classify(0, int(STOPPED_S * 800)))]
            await gateway.asked(1)
            asking += [asyncio.create_task(gateway.classify(seed)) for seed in (1, 2)]
            await gateway.asked(3)
            while not all(map(_works, nodes.nodes.values())):
                await asyncio.sleep(0.01)
            gateway.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(STOPPED_S)
            gateway.process.send_signal(signal.SIGCONT)
            for answer in await asyncio.gather(*asking):
                assert len(answer["votes"]) == 3
            assert len((await gateway.classify())["votes"]) == 3
            saying.cancel()
            out = await _log_of(gateway)
        assert not any('"dead"' in line for line in out)

    run(test)


def _works(node: SimulatedNode) -> bool:
    """Whether it has an image whole."""
    return any(image.begins_at is not None for image in node.incoming.values())


async def _log_of(gateway: GatewayProcess) -> list[str]:
    """What it has logged, after its end."""
    process = gateway.process
    process.send_signal(signal.SIGTERM)
    out, _ = await process.communicate()
    return [str(line) for line in out.decode().splitlines()]


@pytest.mark.parametrize("jump", [-1e9, 1e9])
def test_wall_clock_jumps_change_labels_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    async def test() -> None:
        fleet = loopback_fleet([], udp=2)
        changes: list[NodeChanged] = []
        async with nodes_of(fleet, {}):
            async with Gateway(fleet, state_dir=tmp_path) as gateway:
                await gateway.wait_for_nodes(2, 20)
                gateway.on_event(
                    lambda e: changes.append(e) if isinstance(e, NodeChanged) else None
                )
                wall = time.time
                monkeypatch.setattr(time, "time", lambda: wall() + jump)
                for seed in range(3):
                    answer = await gateway.classify(make_image(fleet, seed))
                    assert (answer.missing, answer.latency_ms < 20_000) == ((), True)
                boot = gateway._state.boot
            # One that goes back does not take the counter along; decades ahead are not believed.
            async with Gateway(fleet, state_dir=tmp_path) as gateway:
                assert gateway._state.boot == boot + 1
                await gateway.wait_for_nodes(2, 20)
                assert (await gateway.classify(make_image(fleet))).missing == ()
        assert changes == []

    run(test)
