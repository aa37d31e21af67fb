"""`vp aggregate`, without its command line."""

from __future__ import annotations

import asyncio
import logging
import signal
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.event_log import start_log
from variant_parallelism.gateway.program import Images, Pace, Reply, Show, ask_in_order
from variant_parallelism.gateway.report import answer_json
from variant_parallelism.workers.asking import BrokerClient
from variant_parallelism.workers.messages import AnswerMessage
from variant_parallelism.workers.worker import Worker
from variant_parallelism.workers_table import WorkersTable

log = logging.getLogger("variant_parallelism.gateway")


async def run_worker(fleet: Fleet, table: WorkersTable, as_json: bool = False) -> None:
    """Combine a fleet's votes until SIGINT or SIGTERM.

    Writes one line an event to standard output, for people or as JSON: `starting` first, then
    every answer, `stopped` at the end. VpError if it cannot start.
    """
    lines = start_log(as_json, {})
    try:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        worker = Worker(fleet, table, partial(_log_answer, as_json))
        async with worker:
            starting = {"event": "starting", "worker": worker.name, "broker": table.place}
            log.info(
                "fleet %s: worker %s at %s",
                fleet.table.name,
                worker.name,
                table.place,
                extra={"fields": starting},
            )
            await stop.wait()
        counts = worker.counters
        log.info(
            "stopped: %d answers of %d reports",
            counts.answers,
            counts.reports,
            extra={"fields": {"event": "stopped", "counters": counts.as_dict()}},
        )
    finally:
        lines.close()


def _log_answer(as_json: bool, answer: AnswerMessage) -> None:
    voted = len(answer.votes)
    what = "no node answered" if answer.name is None else f"{answer.name}, score {answer.score:.3f}"
    log.info(
        "request %s: %s, %d of %d nodes, %.0f ms",
        answer.uid,
        what,
        voted,
        voted + len(answer.missing) + len(answer.spared),
        answer.latency_ms,
        extra={"fields": {"event": "answer", **_as_json(answer)}} if as_json else None,
    )


def _as_json(answer: AnswerMessage) -> dict[str, Any]:
    return answer.model_dump(mode="json", by_alias=True)


async def classify_by_broker(
    fleet: Fleet,
    table: WorkersTable,
    images: Images,
    k: int | None,
    deadline_ms: float | None,
    show: Show,
) -> None:
    """Ask all gateways of a fleet through its broker; `show` each image's answer, in order."""
    async with BrokerClient(fleet, table) as client:

        async def ask(image: NDArray[np.uint8]) -> Reply:
            answer = await client.classify(image, k=k, deadline_ms=deadline_ms)
            return answer_json(answer), {}

        deadline = fleet.table.deadline_ms if deadline_ms is None else deadline_ms
        await ask_in_order(images, ask, Pace(deadline), show)
