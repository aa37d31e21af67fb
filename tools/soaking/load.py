"""Images and triggers in a closed loop, each answer checked against what the nodes' models say."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from soaking.stage import Stage
from variant_parallelism import AsyncClient
from variant_parallelism.api import Answer
from variant_parallelism.client import GatewayError

_RETRY_S = 0.05
_TRIGGER_EVERY = 10
_TIE = 1e-9
_EXAMPLES = 20


@dataclass
class Tally:
    """What came of the requests.

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
        manifest = stage.fleet.manifest
        columns = {variant.name: at for at, variant in enumerate(manifest.variants)}
        self._column = {node.id: columns[node.variant] for node in stage.fleet.nodes}
        self._weight = {node.id: stage.fleet.variant_of(node).weight for node in stage.fleet.nodes}
        self._classes = len(manifest.classes)
        self._expected = [
            [stage.table.entries(image, column, stage.fleet.table.k) for column in columns.values()]
            for image in stage.images
        ]

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

    def _check(self, answer: Answer, at: int | None) -> None:
        """`at` is the image's place, None for a trigger: what nodes capture then is their own, so
        only the sum of their votes is looked at."""
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
            entries = tuple(tuple(entry) for entry in vote.entries)
            if at is not None and entries != self._expected[at][self._column[vote.node]]:
                if self._stage.may_lie(vote.node):
                    tally.lies += 1
                else:
                    tally.wrong_votes += 1
                    tally.note(f"node {vote.node} says {entries} of image {at}")
            if vote.counted:
                for index, score in entries:
                    shares[index] += self._weight[vote.node] * (score + 128) / 256
        best, second = np.sort(shares)[[-1, -2]]
        if best - second > _TIE and int(np.argmax(shares)) != answer.class_index:
            tally.wrong_answers += 1
            tally.note(f"class {answer.class_index} where the votes say {int(np.argmax(shares))}")
