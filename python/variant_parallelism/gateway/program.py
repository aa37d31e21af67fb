"""`vp gateway` and `vp classify`, without their command lines."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path
from typing import Any

from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.http_api import HttpServer
from variant_parallelism.gateway.report import answer_json
from variant_parallelism.gateway.service import Gateway
from variant_parallelism.gateway.types import Answered, Event, NodeChanged
from variant_parallelism.images import read_image

_SETTLE_S = 2.0

log = logging.getLogger("variant_parallelism.gateway")


async def run_gateway(fleet: Fleet, state_dir: Path | None = None) -> None:
    """Run a fleet's gateway and its HTTP API until SIGINT or SIGTERM, one log line an event."""
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    gateway = Gateway(fleet, state_dir=state_dir)
    gateway.on_event(lambda event: _log_event(fleet, event))
    server = HttpServer(gateway, fleet.table.gateway.http)
    log.info("fleet %s: %d nodes", fleet.table.name, len(fleet.nodes))
    async with gateway:
        server.start()
        log.info("serving http://%s/v1/", fleet.table.gateway.http)
        await stop.wait()
        await server.stop()
        counts = gateway.counters
    log.info("stopped: %d requests, %d answered", counts.requests, counts.answers)


def _log_event(fleet: Fleet, event: Event) -> None:
    """One line for people. Warnings the service logs itself."""
    if isinstance(event, NodeChanged):
        variant = next(node.variant for node in fleet.nodes if node.id == event.node)
        level = logging.INFO if event.state == "up" else logging.WARNING
        log.log(level, "node %d (%s) %s: %s", event.node, variant, event.state, event.reason)
    elif isinstance(event, Answered):
        log.info("%s", summary(answer_json(event.answer), len(fleet.nodes)))


def summary(answer: dict[str, Any], nodes: int) -> str:
    """One line about an answer in its JSON form."""
    if answer["class"] is None:
        return f"request {answer['request']}: no node answered in {answer['latency_ms']:.0f} ms"
    return (
        f"request {answer['request']}: {answer['name']}, score {answer['score']:.3f}, "
        f"{len(answer['votes'])} of {nodes} nodes, {answer['latency_ms']:.0f} ms"
    )


async def classify_files(
    fleet: Fleet, paths: list[Path], k: int | None, deadline_ms: float | None
) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Run a gateway for as long as these images take.

    Returns the answers as `report.answer_json`, and for each node that is not up, why.
    """
    images = [read_image(path, fleet.manifest.input) for path in paths]
    async with Gateway(fleet) as gateway:
        await gateway.wait_until_settled(_SETTLE_S)
        answers = [
            answer_json(await gateway.classify(image, k=k, deadline_ms=deadline_ms))
            for image in images
        ]
        down = {
            node.id: f"{node.state}: {node.reason}"
            for node in gateway.nodes()
            if node.state != "up"
        }
    return answers, down
