"""`vp classify`, without its command line."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.client import Client
from variant_parallelism.gateway.report import answer_json
from variant_parallelism.gateway.service import Gateway

_SETTLE_S = 2.0


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
