"""What happens in the demo, whatever shows it: stream, kill, stream on, bring back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.demo.plan import Plan, Sample
from variant_parallelism.emulators import Board
from variant_parallelism.gateway import Answer, NodeStatus
from variant_parallelism.wire import Hello

Entries = tuple[tuple[int, int], ...]
PhaseName = Literal["all", "death", "survivors", "return"]

_REJOIN_TIMEOUT_S = 15.0
_POLL_S = 0.005


class Aggregator(Protocol):
    """What the scenario needs of a Gateway."""

    async def classify(self, image: NDArray[np.uint8]) -> Answer: ...

    def nodes(self) -> Sequence[NodeStatus]: ...


class Reference(Protocol):
    """What the host computes for the same images with the same compiled models."""

    def entries(self, variant: str, index: int) -> Entries:
        """The top-k of test image `index` from `variant`."""


@dataclass(frozen=True)
class Shot:
    """One image that went through the fleet.

    `boards` are the nodes that ran when it was sent; in phase `death` the last of them was killed
    while it was on its way. `differing` are the nodes whose vote is not the host's.
    """

    phase: PhaseName
    sample: Sample
    boards: tuple[int, ...]
    answer: Answer
    differing: tuple[int, ...]

    @property
    def correct(self) -> bool:
        return self.answer.class_index == self.sample.label

    @property
    def lost(self) -> bool:
        return self.answer.class_index is None


@dataclass(frozen=True)
class Rejoin:
    """A board that was started again: ms from power-on to its HELLO at the gateway, or None."""

    node: int
    after_ms: float | None


@dataclass
class Recording:
    """All that happened."""

    shots: list[Shot] = field(default_factory=list)
    rejoins: list[Rejoin] = field(default_factory=list)
    ended: list[int] = field(default_factory=list)
    """Boards that ended by themselves: nobody killed them."""
    duration_s: float = 0.0


class View(Protocol):
    """Shows the scenario to somebody."""

    def phase(self, title: str, images: int) -> None:
        """A stretch of `images` images begins."""

    def shot(self, shot: Shot, nodes: Sequence[NodeStatus]) -> None:
        """An image was answered, or not."""

    def event(self, text: str) -> None:
        """A board died or came back."""


class Scenario:
    """Runs a plan on booted boards behind a gateway that sees them all up."""

    def __init__(
        self,
        gateway: Aggregator,
        boards: Mapping[int, Board],
        plan: Plan,
        view: View,
        reference: Reference | None,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._gateway = gateway
        self._boards = boards
        self._plan = plan
        self._view = view
        self._reference = reference
        self._clock = clock
        self._recording = Recording()
        self._off: set[int] = set()

    async def run(self) -> Recording:
        """The whole demo; boards that it killed run again at its end."""
        begin = self._clock()
        total = len(self._boards)
        self._view.phase(f"all {total} boards", len(self._plan.first))
        await self._stream("all", self._plan.first)
        for step, node in enumerate(self._plan.deaths):
            await self._kill_in_flight(node, self._plan.each[step % len(self._plan.each)])
            left = total - step - 1
            self._view.phase(f"{left} of {total} boards left", len(self._plan.each))
            await self._stream("survivors", self._plan.each)
        for node in self._plan.deaths:
            await self._bring_back(node)
        self._view.phase(f"all {total} boards again", len(self._plan.each))
        await self._stream("return", self._plan.each)
        self._recording.duration_s = self._clock() - begin
        return self._recording

    async def _stream(self, phase: PhaseName, samples: Sequence[Sample]) -> None:
        for sample in samples:
            boards = self._running()
            answer = await self._gateway.classify(sample.image)
            self._record(phase, sample, boards, answer)

    async def _kill_in_flight(self, node: int, sample: Sample) -> None:
        boards = (*(other for other in self._running() if other != node), node)
        request = asyncio.ensure_future(self._gateway.classify(sample.image))
        self._off.add(node)
        try:
            await asyncio.sleep(0)
            await asyncio.to_thread(self._boards[node].kill)
            self._view.event(f"killed node {node} ({self._variant(node)}) with an image on its way")
            answer = await request
        finally:
            request.cancel()
        self._record("death", sample, boards, answer)

    async def _bring_back(self, node: int) -> None:
        last = self._status(node).hello
        begin = self._clock()
        await asyncio.to_thread(self._boards[node].start)
        self._off.discard(node)
        while not self._is_back(node, last) and self._clock() - begin < _REJOIN_TIMEOUT_S:
            await asyncio.sleep(_POLL_S)
        after_ms = (self._clock() - begin) * 1000 if self._is_back(node, last) else None
        self._recording.rejoins.append(Rejoin(node, after_ms))
        name = f"node {node} ({self._variant(node)})"
        if after_ms is None:
            self._view.event(f"{name} did not come back within {_REJOIN_TIMEOUT_S:.0f} s")
        else:
            self._view.event(f"{name} is back: HELLO {after_ms:.0f} ms after power-on")

    def _is_back(self, node: int, last: Hello | None) -> bool:
        """Whether a node is up with another HELLO than its `last`."""
        status = self._status(node)
        return status.state == "up" and status.hello is not last

    def _record(
        self, phase: PhaseName, sample: Sample, boards: tuple[int, ...], answer: Answer
    ) -> None:
        differing: tuple[int, ...] = ()
        if self._reference is not None:
            differing = tuple(
                vote.node
                for vote in answer.votes
                if vote.entries != self._reference.entries(vote.variant, sample.index)
            )
        shot = Shot(phase, sample, boards, answer, differing)
        self._recording.shots.append(shot)
        self._view.shot(shot, self._gateway.nodes())

    def _running(self) -> tuple[int, ...]:
        for node, board in self._boards.items():
            if not board.running and node not in self._off:
                self._off.add(node)
                self._recording.ended.append(node)
                self._view.event(f"node {node} ({self._variant(node)}) ended by itself")
        return tuple(node for node, board in self._boards.items() if board.running)

    def _status(self, node: int) -> NodeStatus:
        return next(status for status in self._gateway.nodes() if status.id == node)

    def _variant(self, node: int) -> str:
        return self._status(node).variant
