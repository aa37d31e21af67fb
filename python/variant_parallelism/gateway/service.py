"""The gateway on real ports: an asyncio shell around the core."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.asker import Asker
from variant_parallelism.gateway.core import Core
from variant_parallelism.gateway.gate import Gate, Source
from variant_parallelism.gateway.keeping import StateKeeper
from variant_parallelism.gateway.links import Links
from variant_parallelism.gateway.reloading import Changes, changes, check_emulated, check_reload
from variant_parallelism.gateway.requests import Request
from variant_parallelism.gateway.state import StateFile, StateLock, default_state_dir
from variant_parallelism.gateway.types import (
    Answer,
    Answered,
    Counters,
    Event,
    Faulted,
    NodeChanged,
    NodeStatus,
    Warned,
)
from variant_parallelism.plain_text import plain

_SAVE_LIMIT_S = 5.0
"""For how long the start and the end wait for the disk."""

log = logging.getLogger("variant_parallelism.gateway")


class Gateway:
    """One fleet's aggregator.

    Use it as an asynchronous context manager: entering opens the ports and calls the nodes,
    leaving closes everything. A board that is missing is a dead node that comes back by itself;
    entering raises VpError only if no port at all opens, or the UDP port is taken.
    """

    def __init__(self, fleet: Fleet, *, state_dir: Path | None = None) -> None:
        """`state_dir` is where counters are kept between runs (default: the user's state folder).

        VpError if a node has no address yet because it is emulated.
        """
        check_emulated(fleet)
        self.fleet = fleet
        self._state_dir = state_dir or default_state_dir()
        self._listeners: list[Callable[[Event], None]] = []
        self._waiting: dict[int, asyncio.Future[Answer]] = {}
        self._lock = StateLock(self._state_dir, fleet.table.name)
        self._links = Links(fleet, self)
        self._saving: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._open = False
        self._draining = False
        self._reloading = asyncio.Lock()
        self._asker: Asker | None = None

    async def __aenter__(self) -> Gateway:
        self._loop = asyncio.get_running_loop()
        self._lock.take()
        try:
            await self._enter()
        except BaseException:
            self._lock.release()
            raise
        return self

    async def _enter(self) -> None:
        self._state = StateFile.load(self._state_dir, self.fleet.table.name, self.fleet.key)
        boot = self._state.next_boot()
        # Random, so that a run whose counters were lost does not take a node's answer to an
        # earlier request for the answer to its own.
        self._core = Core(
            self.fleet,
            boot,
            highest=self._state.highest,
            on_boot=self._keep_boot,
            first_request=secrets.randbits(16),
        )
        self._keeper = StateKeeper(self._state, self._core.highest_counters)
        self._keeper.save()
        await self._keeper.written(_SAVE_LIMIT_S)
        self._leave_out(list(self._core.nodes))
        self._open = True
        try:
            await self._links.open()
        except BaseException:
            await self._close()
            raise
        self._saving = asyncio.create_task(self._keeper.save_now_and_then())

    def _leave_out(self, nodes: list[int]) -> None:
        """Those of these nodes that the operator left out before."""
        for node_id, reason in self._state.quarantined.items():
            if node_id in nodes:
                self._core.quarantine(self._loop.time(), node_id, True, reason)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close()

    @property
    def counters(self) -> Counters:
        return self._core.counters

    def nodes(self) -> list[NodeStatus]:
        """Every node of the fleet, in the fleet file's order."""
        return self._core.statuses()

    def quarantine(self, node_id: int, on: bool, reason: str = "") -> None:
        """Leave a node out (it is still asked, but its votes do not count and nobody waits for
        it), also after a restart; or take back one that was left out, by whomever.

        `reason` is a line for people (default: that the operator did it). VpError if the fleet has
        no such node, or the gateway is closed.
        """
        if not self._open:
            raise VpError("the gateway is closed")
        reason = plain(reason) or f"{'left out' if on else 'taken back'} by the operator"
        self._core.quarantine(self._loop.time(), node_id, on, reason)
        kept = {k: v for k, v in self._state.quarantined.items() if k not in self._core.nodes}
        self._state.quarantined = kept | self._core.quarantined()
        self._keeper.save()
        self._flush()

    def on_event(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call `listener` with every event from now on, on the event loop's thread.

        What is returned ends it.
        """
        self._listeners = [*self._listeners, listener]
        return lambda: self._forget(listener)

    def _forget(self, listener: Callable[[Event], None]) -> None:
        # A new list: this may be called by a listener.
        self._listeners = [other for other in self._listeners if other is not listener]

    def share(self, asker: Asker | None) -> None:
        """From now on `classify` is the asker's: it asks other gateways, too. None: no more."""
        self._asker = asker

    def shared_counts(self) -> dict[str, int]:
        """What became of requests that other gateways are asked, too; empty without any."""
        return {} if self._asker is None else self._asker.counts()

    async def wait_for_nodes(self, count: int, timeout_s: float) -> int:
        """Wait until `count` nodes are up; the number that are, also when time runs out."""
        await self._wait(lambda: self._alive() >= count, timeout_s)
        return self._alive()

    async def wait_until_settled(self, timeout_s: float) -> int:
        """Wait until every node whose link is open has announced itself; the number up."""
        await self._wait(
            lambda: all(node.announced or not node.linked for node in self._core.nodes.values()),
            timeout_s,
        )
        return self._alive()

    async def classify(
        self,
        image: NDArray[np.uint8],
        *,
        k: int | None = None,
        deadline_ms: float | None = None,
        label: int | None = None,
    ) -> Answer:
        """Ask every live node about a uint8 image (H, W, C), at all gateways of the fleet.

        Returns at once when all of them have answered, at the deadline with what there is. k and
        the deadline default to the fleet's. `label` is the right class, if known: it comes back in
        the answer. VpError if they or the image's shape are impossible.
        """
        ask = self.classify_alone if self._asker is None else self._asker.classify
        return await ask(image, k=k, deadline_ms=deadline_ms, label=label)

    async def classify_alone(
        self,
        image: NDArray[np.uint8],
        *,
        k: int | None = None,
        deadline_ms: float | None = None,
        label: int | None = None,
    ) -> Answer:
        """The same from this gateway's nodes only."""
        return await self._answer(
            lambda now: self._core.submit(now, image, k, _seconds(deadline_ms), label)
        )

    async def trigger(
        self,
        *,
        k: int | None = None,
        deadline_ms: float | None = None,
        label: int | None = None,
    ) -> Answer:
        """Have every live node that has an input source capture, at all gateways of the fleet.

        What the nodes answer about their own inputs, as for `classify`. VpError also if no node
        that was heard of has a source.
        """
        ask = self.trigger_alone if self._asker is None else self._asker.trigger
        return await ask(k=k, deadline_ms=deadline_ms, label=label)

    async def trigger_alone(
        self,
        *,
        k: int | None = None,
        deadline_ms: float | None = None,
        label: int | None = None,
    ) -> Answer:
        """The same from this gateway's nodes only."""
        return await self._answer(
            lambda now: self._core.trigger(now, k, _seconds(deadline_ms), label)
        )

    async def _answer(self, ask: Callable[[float], Request]) -> Answer:
        if not self._open:
            raise VpError("the gateway is closed")
        if self._draining:
            raise VpError("the gateway is stopping")
        request = ask(self._loop.time())
        future: asyncio.Future[Answer] = self._loop.create_future()
        self._waiting[request.id] = future
        self._flush()
        try:
            return await future
        finally:
            if self._waiting.get(request.id) is future:
                del self._waiting[request.id]
                self._core.cancel(request)
                # The nodes that it frees have others to serve.
                self._tell(self._core.poll)

    async def reload(self, fleet: Fleet) -> Changes:
        """Become the gateway of `fleet`, without losing a request in flight; what changed.

        A vote that is here counts, also if its node goes. VpError, and nothing has changed, if only
        a restart can do it.
        """
        if not self._open:
            raise VpError("the gateway is closed")
        async with self._reloading:
            check_reload(self.fleet, fleet, self.gate.size)
            await self._links.prepare(fleet)
            self._keeper.save()
            told = changes(self.fleet, fleet)
            await self._links.release(told.closing)
            self.fleet = fleet
            self._tell(lambda now: self._core.reload(now, fleet, self._state.highest))
            self._leave_out(list(told.added))
            self._links.add(fleet, told.opening)
        return told

    async def drain(self, limit_s: float) -> None:
        """Take no more requests, let those in flight end for at most `limit_s`, refuse the rest."""
        self._draining = True
        self._keeper.save()
        if self._waiting:
            await asyncio.wait(self._waiting.values(), timeout=limit_s)
        self._refuse("the gateway is stopping")

    def _refuse(self, why: str) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(VpError(why))

    def overdue_s(self) -> float:
        """For how long something has been due that was not done; 0 if all is well."""
        wake = self._core.wake_at()
        # What is to be done at once is done in the loop's next turn.
        return 0.0 if wake == float("-inf") else max(0.0, self._loop.time() - wake)

    # Links report here.

    def on_link_up(self, node_id: int) -> None:
        self._tell(lambda now: self._core.link_up(now, node_id))

    def on_link_down(self, node_id: int, reason: str) -> None:
        self._tell(lambda now: self._core.link_down(now, node_id, reason))

    def on_bytes(self, node_id: int, data: bytes) -> None:
        self._tell(lambda now: self._core.stream(now, node_id, data))

    def on_datagram(self, node_id: int | None, data: bytes, source: Source | None) -> None:
        self._tell(lambda now: self._core.datagram(now, node_id, data, source))

    def on_socket(self, socket: int) -> None:
        self._tell(lambda now: self._core.receive(now, socket))

    @property
    def gate(self) -> Gate:
        return self._core.gate

    def slot_of(self, node_id: int) -> int:
        """The node's place in the gate."""
        return self._core.nodes[node_id].slot

    def on_group_up(self) -> None:
        self._core.group_up()

    def _tell(self, report: Callable[[float], object]) -> None:
        if self._open:
            report(self._loop.time())
            self._flush()

    # Driving the core.

    def _flush(self) -> None:
        """Send and announce what the core left, and set the timer for what comes next."""
        while self._core.moves:
            self._links.move(*self._core.moves.popleft())
        while self._core.calls:
            self._links.call(*self._core.calls.popleft())
        outbox = self._core.outbox
        while outbox:
            self._links.send(*outbox.popleft())
        self._links.flush()
        while self._core.events:
            self._announce(self._core.events.popleft())
        wake = self._core.wake_at()
        # One that rings too early does no harm, and setting one anew for every answer would cost.
        if self._timer is None or wake < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None if wake == float("inf") else self._loop.call_at(wake, self._wake)

    def _wake(self) -> None:
        self._timer = None
        self._tell(self._core.poll)

    def _announce(self, event: Event) -> None:
        if isinstance(event, Answered):
            future = self._waiting.pop(event.answer.request, None)
            if future is not None and not future.done():
                future.set_result(event.answer)
        elif isinstance(event, NodeChanged):
            self._changed.set()
        elif isinstance(event, Warned | Faulted):
            log.warning("%s", event.text, extra={"event": event})
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                # Its mistake must not keep the core from being driven.
                log.exception("a listener failed at an event")

    def _alive(self) -> int:
        return sum(node.state == "up" for node in self._core.nodes.values())

    async def _wait(self, reached: Callable[[], bool], timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while not reached():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            pass

    async def _close(self) -> None:
        self._open = False
        if self._saving is not None:
            self._saving.cancel()
            await asyncio.gather(self._saving, return_exceptions=True)
        if self._timer is not None:
            self._timer.cancel()
        await self._links.close()
        self._refuse("the gateway was closed")
        self._keeper.save()
        # What is still being written must not replace the file of the next gateway.
        if await self._keeper.written(_SAVE_LIMIT_S):
            self._lock.release()

    # Keeping counters.

    def _keep_boot(self, boot: int) -> None:
        self._state.boot = boot
        self._keeper.save()


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
