"""Boots the boards, runs the scenario behind a gateway and returns the figures."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.demo.plan import Plan, make_plan
from variant_parallelism.demo.scenario import Entries, Reference, Scenario, View
from variant_parallelism.demo.summary import Summary, summarise
from variant_parallelism.emulators import EmulatedFleet, launch_fleet
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import KEY_SIZE, Fleet
from variant_parallelism.gateway import Gateway
from variant_parallelism.reference import FamilyReference
from variant_parallelism.training.datasets import Dataset, Progress, load_dataset

_BOOT_TIMEOUT_S = 20.0


class OpenView(View, AbstractContextManager["OpenView"], Protocol):
    """A view that takes the terminal while it is entered."""


class HostReference:
    """The votes that the host computes for test images, each once."""

    def __init__(self, fleet: Fleet, images: NDArray[np.uint8]) -> None:
        self._family = FamilyReference(fleet.manifest, fleet.manifest_path.parent)
        self._images = images
        self._k = fleet.table.k
        self._known: dict[tuple[str, int], Entries] = {}

    def entries(self, variant: str, index: int) -> Entries:
        """The top-k of `variant` for test image `index`."""
        key = (variant, index)
        if key not in self._known:
            self._known[key] = self._family[variant].entries(self._images[index], self._k)
        return self._known[key]

    def prepare(self, variant: str, plan: Plan) -> None:
        """Compute all of a variant's votes now, so that streaming does not wait for them."""
        for sample in plan.first:
            self.entries(variant, sample.index)


def check_fleet(fleet: Fleet) -> None:
    """VpError unless the demo can kill boards of this fleet."""
    real = [node.id for node in fleet.nodes if node.emulated is None]
    if real:
        raise VpError(
            f"vp demo kills boards, so every node of {fleet.path} must be emulated: "
            f"node {real[0]} is not"
        )
    if len(fleet.nodes) < 2:
        raise VpError(f"vp demo needs at least two nodes in {fleet.path}")


def load_images(fleet: Fleet, data: str, progress: Progress | None = None) -> Dataset:
    """The data set `data` with the classes of the fleet; VpError if they are others.

    `progress` wraps the images while they are decoded.
    """
    manifest = fleet.manifest
    side = manifest.input.height if manifest.input.height == manifest.input.width else None
    dataset = load_dataset(
        data, image_size=side, channels=manifest.input.channels, progress=progress
    )
    if list(dataset.classes) != manifest.classes:
        raise VpError(
            f"{data} has the classes {_few(dataset.classes)}, but {fleet.manifest_path} "
            f"has {_few(manifest.classes)}"
        )
    return dataset


def _few(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def run_demo(
    fleet: Fleet,
    dataset: Dataset,
    images: Mapping[int, Path],
    workdir: Path,
    make_view: Callable[[Fleet, int], OpenView],
    *,
    count: int,
    seed: int,
    compare: bool = True,
    prepare: Callable[[HostReference, Plan], None] | None = None,
) -> Summary:
    """The whole demo, with the firmware `images` by node id, in `workdir`.

    `make_view` gets the running fleet and the number of images that will be streamed. With
    `compare` every vote is checked against what the host computes; `prepare` may compute that
    ahead. Boards are off when this returns, also by an exception.
    """
    plan = make_plan(
        dataset.test_images, dataset.test_labels, [node.id for node in fleet.nodes], count, seed
    )
    reference = HostReference(fleet, dataset.test_images) if compare else None
    if reference is not None and prepare is not None:
        prepare(reference, plan)
    key = fleet.key or secrets.token_bytes(KEY_SIZE)
    with launch_fleet(fleet, images, workdir, key=key) as running:
        view = make_view(running.fleet, plan.streamed)
        return asyncio.run(_stream(running, plan, view, reference))


async def _stream(
    running: EmulatedFleet, plan: Plan, view: OpenView, reference: Reference | None
) -> Summary:
    fleet = running.fleet
    async with Gateway(fleet, state_dir=running.workdir / "gateway") as gateway:
        total = len(fleet.nodes)
        if await gateway.wait_for_nodes(total, _BOOT_TIMEOUT_S) < total:
            missing = [node for node in gateway.nodes() if node.state != "up"]
            raise VpError(
                f"{len(missing)} of {total} boards did not announce themselves within "
                f"{_BOOT_TIMEOUT_S:.0f} s; node {missing[0].id}: {missing[0].reason}"
            )
        with view:
            recording = await Scenario(gateway, running.boards, plan, view, reference).run()
    return summarise(recording, fleet, plan, compared=reference is not None)
