"""A gateway that did not run for a while, and clocks that jump: nothing but labels goes by them."""

from __future__ import annotations

import asyncio
import heapq
import signal
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import pytest

from fleet_factory import make_fleet, make_image
from gateway_process import GatewayProcess, gateway_of, write_loopback
from loopback_nodes import loopback_fleet, nodes_of, run
from simulated_fleet import World, ready, states
from variant_parallelism.fleet import Fleet, load_fleet
from variant_parallelism.gateway import Gateway, NodeChanged


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

    def sleep(self, seconds: float, *, nodes_too: bool, timer_first: bool) -> None:
        """Stop the gateway for so long; `nodes_too`: only the clock goes on."""
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
            self.unread.popleft()()
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


def test_a_process_that_is_stopped_and_goes_on(tmp_path: Path) -> None:
    async def test() -> None:
        path = write_loopback(tmp_path, hello_ms=300)
        async with nodes_of(load_fleet(path), {}) as nodes, gateway_of(path) as gateway:
            # They say HELLO every second: often enough for this gateway only with an answer.
            for node in nodes.nodes.values():
                node.compute_s = 0.2

            async def say() -> None:
                while True:
                    for node in nodes.nodes.values():
                        node.send(node.hello())
                    await asyncio.sleep(0.1)

            saying = asyncio.create_task(say())
            await gateway.up(2)
            asking = [asyncio.create_task(gateway.classify(seed)) for seed in range(3)]
            await gateway.asked(3)
            gateway.process.send_signal(signal.SIGSTOP)
            await asyncio.sleep(2.0)
            gateway.process.send_signal(signal.SIGCONT)
            for answer in await asyncio.gather(*asking):
                assert len(answer["votes"]) == 2
            assert len((await gateway.classify())["votes"]) == 2
            saying.cancel()
            out = await _log_of(gateway)
        assert not any('"dead"' in line for line in out)

    run(test)


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
