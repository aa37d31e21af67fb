"""`vp gateway` and `vp classify`, without their command lines."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.client import Client
from variant_parallelism.gateway.web import HttpServer
from variant_parallelism.gateway.report import answer_json, event_json
from variant_parallelism.gateway.service import Gateway
from variant_parallelism.gateway.sinks import make_sinks
from variant_parallelism.gateway.types import Answered, Event, NodeChanged

_SETTLE_S = 2.0

log = logging.getLogger("variant_parallelism.gateway")


async def run_gateway(fleet: Fleet, state_dir: Path | None = None, as_json: bool = False) -> None:
    """Run a fleet's gateway and its HTTP API until SIGINT or SIGTERM.

    Prints one line an event: for people, or `report.event_json` with the time (UTC), between a
    `serving` and a `stopped`.
    """
    logging.basicConfig(
        stream=sys.stderr if as_json else sys.stdout,
        level=logging.WARNING if as_json else logging.INFO,
        format="%(asctime)s %(message)s",
        datefmt="%H:%M:%S",
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    gateway = Gateway(fleet, state_dir=state_dir)
    variants = {node.id: node.variant for node in fleet.nodes}
    if as_json:
        gateway.on_event(lambda event: _print_json(event_json(event, variants)))
    else:
        gateway.on_event(lambda event: _log_event(variants, event))
    http = fleet.table.gateway.http
    server = HttpServer(gateway, http)
    log.info("fleet %s: %s", fleet.table.name, _counted(len(fleet.nodes), "node"))
    async with gateway, make_sinks(gateway, fleet) as sinks:
        server.start(sinks.render_metrics)
        if as_json:
            _print_json({"event": "serving", "fleet": fleet.table.name, "http": http})
        log.info("serving http://%s/v1/", http)
        await stop.wait()
        await server.stop()
        counts = gateway.counters
    if as_json:
        _print_json({"event": "stopped", "counters": counts.as_dict()})
    log.info("stopped: %s, %d answered", _counted(counts.requests, "request"), counts.answers)


def _print_json(event: dict[str, Any]) -> None:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    print(json.dumps({"time": now, **event}), flush=True)


def _log_event(variants: dict[int, str], event: Event) -> None:
    """One line for people. Warnings and faults the service logs itself."""
    if isinstance(event, NodeChanged):
        level = logging.INFO if event.state == "up" else logging.WARNING
        variant = variants[event.node]
        log.log(level, "node %d (%s) %s: %s", event.node, variant, event.state, event.reason)
    elif isinstance(event, Answered):
        log.info("%s", summary(answer_json(event.answer), len(variants)))


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def summary(answer: dict[str, Any], nodes: int) -> str:
    """One line about an answer in its JSON form."""
    if answer["class"] is None:
        return f"request {answer['request']}: no node answered in {answer['latency_ms']:.0f} ms"
    return (
        f"request {answer['request']}: {answer['name']}, score {answer['score']:.3f}, "
        f"{len(answer['votes'])} of {nodes} nodes, {answer['latency_ms']:.0f} ms"
    )


Show = Callable[[int, dict[str, Any], dict[int, str]], None]
"""Called with an image's index, its answer, and for each node that is not up, why."""


async def classify_images(
    fleet: Fleet,
    images: list[NDArray[np.uint8]],
    k: int | None,
    deadline_ms: float | None,
    state_dir: Path | None,
    show: Show,
) -> None:
    """Run a gateway for as long as these images (H, W, C) take; `show` each as it is answered."""
    async with Gateway(fleet, state_dir=state_dir) as gateway:
        await gateway.wait_until_settled(_SETTLE_S)
        for index, image in enumerate(images):
            answer = await gateway.classify(image, k=k, deadline_ms=deadline_ms)
            down = {
                node.id: f"{node.state}: {node.reason}"
                for node in gateway.nodes()
                if node.state != "up"
            }
            show(index, answer_json(answer), down)


def classify_by(
    client: Client,
    images: list[NDArray[np.uint8]],
    k: int | None,
    deadline_ms: float,
    show: Show,
) -> None:
    """The same through a gateway that already runs."""
    for index, image in enumerate(images):
        answer = client.classify(image, k, deadline_ms)
        down = {}
        if answer["missing"]:
            # The answer counts, also if the gateway has gone away since.
            with contextlib.suppress(VpError):
                down = {
                    node["id"]: f"{node['state']}: {node['reason']}"
                    for node in client.nodes()
                    if node["state"] != "up"
                }
        show(index, answer, down)
