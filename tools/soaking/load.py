"""Images and triggers in a closed loop, each answer checked against what the nodes' models say."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from soaking.expected import Expected
from soaking.stage import FIRST_VIRTUAL, Stage
from variant_parallelism import AsyncClient
from variant_parallelism.api import Answer
from variant_parallelism.client import GatewayError
from variant_parallelism.reference import Entries, FamilyReference

_RETRY_S = 0.05
_TRIGGER_EVERY = 10
_TIE = 1e-9
_EXAMPLES = 20


@dataclass
class Tally:
    """What came of the requests.

    `captures` are votes on triggers, `captured_later` those of them by nodes that were asked anew;
    `wrong_votes` differ from what the node's model says, and the node was not told to lie; in
    `wrong_answers` the class is not what the counted votes add up to.
    """

    asked: int = 0
    triggered: int = 0
    answered: int = 0
    lost: int = 0
    refused: int = 0
    failed: int = 0
    votes: int = 0
    captures: int = 0
    captured_later: int = 0
    lies: int = 0
    wrong_votes: int = 0
    wrong_answers: int = 0
    as_labelled: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)

    def note(self, problem: str) -> None:
        if problem in self.problems or len(self.problems) < _EXAMPLES:
            self.problems[problem] += 1


class Load:
    """`in_flight` callers over HTTP until `stop`."""

    def __init__(self, stage: Stage, in_flight: int) -> None:
        self.tally = Tally()
        self._stage = stage
        self._in_flight = in_flight
        self._stopping = asyncio.Event()
        family = FamilyReference(stage.fleet.manifest, stage.fleet.manifest_path.parent)
        self._expected = Expected(
            stage.fleet,
            stage.images,
            stage.table,
            lambda node: node >= FIRST_VIRTUAL,
            lambda variant, image, k: family[variant].entries(image, k),
        )
        self._weight = {node.id: stage.fleet.variant_of(node).weight for node in stage.fleet.nodes}
        self._classes = len(stage.fleet.manifest.classes)

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        numbers = itertools.count()
        client = AsyncClient(f"http://{self._stage.fleet.table.gateway.http}")
        async with client, asyncio.TaskGroup() as group:
            for _ in range(self._in_flight):
                group.create_task(self._caller(client, numbers))

    async def _caller(self, client: AsyncClient, numbers: itertools.count[int]) -> None:
        tally = self.tally
        while not self._stopping.is_set():
            number = next(numbers)
            at = None if number % _TRIGGER_EVERY == 0 else number % len(self._stage.images)
            tally.asked += 1
            tally.triggered += at is None
            try:
                answer = await self._ask(client, at)
            except GatewayError as error:
                busy = error.status in (429, 503)
                tally.refused += busy
                tally.failed += not busy
                if not busy:
                    tally.note(str(error))
                await asyncio.sleep(_RETRY_S)
                continue
            self._check(answer, at)

    async def _ask(self, client: AsyncClient, at: int | None) -> Answer:
        if at is None:
            return await client.trigger()
        return await client.classify(self._stage.images[at], label=self._stage.labels[at])

    def _is_right(self, request: int, at: int | None, node: int, entries: Entries) -> bool:
        if at is not None:
            return entries == self._expected.of_image(at, node)
        self.tally.captures += 1
        if entries == self._expected.of_trigger(request, node):
            return True
        self.tally.captured_later += 1
        return self._expected.is_of_later_trigger(request, node, entries)

    def _check(self, answer: Answer, at: int | None) -> None:
        """`at` is the image's place, None for a trigger: each node captured something else then."""
        tally = self.tally
        if answer.class_index is None:
            tally.lost += 1
            tally.note(f"no answer: missing {len(answer.missing)}, errors {answer.errors}")
            return
        tally.answered += 1
        tally.latencies_ms.append(answer.latency_ms)
        if at is not None:
            tally.as_labelled += answer.class_index == self._stage.labels[at]
        shares = np.zeros(self._classes)
        for vote in answer.votes:
            tally.votes += 1
            entries = tuple((index, score) for index, score in vote.entries)
            if not self._is_right(answer.request, at, vote.node, entries):
                if self._stage.may_lie(vote.node):
                    tally.lies += 1
                else:
                    tally.wrong_votes += 1
                    of = f"trigger {answer.request}" if at is None else f"image {at}"
                    tally.note(f"node {vote.node} says {entries} of {of}")
            if vote.counted:
                for index, score in entries:
                    shares[index] += self._weight[vote.node] * (score + 128) / 256
        best, second = np.sort(shares)[[-1, -2]]
        if best - second > _TIE and int(np.argmax(shares)) != answer.class_index:
            tally.wrong_answers += 1
            tally.note(f"class {answer.class_index} where the votes say {int(np.argmax(shares))}")
