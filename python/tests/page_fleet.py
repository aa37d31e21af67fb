"""A real gateway with virtual nodes beside a test that looks at its page in a browser."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import threading
import urllib.request
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from free_ports import free_ports
from variant_parallelism.fleet import load_fleet
from variant_parallelism.gateway import Gateway
from variant_parallelism.gateway.web import HttpServer
from variant_parallelism.virtual import VirtualNodes, write_virtual_fleet

T = TypeVar("T")
CLASSES = 10
SIDE = 8
LABEL_EVERY = 2
"""Of the images asked about; half of these labels are right."""


def picture(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 1), dtype=np.uint8)


class PageFleet:
    """A gateway in a thread's event loop, which can be stopped and started again, and its nodes.

    A context manager. `url` is where its page is.
    """

    def __init__(
        self, folder: Path, nodes: int, *, class_name: str | None = None, token: str | None = None
    ) -> None:
        """`class_name` replaces every class's name."""
        folder.mkdir(exist_ok=True)
        gateway_port, node_port = free_ports(socket.SOCK_DGRAM, 2)
        (self.port,) = free_ports(socket.SOCK_STREAM, 1)
        path = write_virtual_fleet(
            folder,
            nodes,
            ports=(gateway_port, node_port),
            http_port=self.port,
            classes=CLASSES,
            side=SIDE,
            hello_ms=200,
        )
        if class_name is not None:
            manifest = json.loads((folder / "manifest.json").read_text())
            manifest["classes"] = [class_name] * CLASSES
            (folder / "manifest.json").write_text(json.dumps(manifest))
        if token is not None:
            (folder / "token").write_text(token + "\n")
            (folder / "token").chmod(0o600)
            text = path.read_text()
            path.write_text(text.replace("[gateway]\n", '[gateway]\ntoken_file = "token"\n', 1))
        self.fleet = load_fleet(path)
        self.nodes = VirtualNodes(self.fleet)
        self.url = f"http://127.0.0.1:{self.port}/"
        self._folder = folder
        self._seeds = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._feeder: asyncio.Task[None] | None = None

    def __enter__(self) -> PageFleet:
        self._thread.start()
        self.nodes.__enter__()
        self.start_gateway()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop_gateway()
        self.nodes.__exit__(kind, error, trace)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of what runs in the gateway's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def start_gateway(self) -> None:
        async def start() -> None:
            self.gateway = Gateway(self.fleet, state_dir=self._folder)
            await self.gateway.__aenter__()
            self._server = HttpServer(self.gateway, self.fleet.table.gateway.http)
            self._server.start()
            await self.gateway.wait_for_nodes(len(self.fleet.nodes), 20)

        self.do(start())

    def stop_gateway(self) -> None:
        async def stop() -> None:
            await self._stop_feeding()
            await self._server.stop()
            await self.gateway.__aexit__(None, None, None)

        self.do(stop())

    def ask(self, count: int) -> None:
        """Ask about so many images, one after the other."""

        async def ask() -> None:
            for _ in range(count):
                await self._ask_next()

        self.do(ask())

    def feed(self, per_s: float) -> None:
        """Ask about images at this pace until the gateway stops, or another pace is set."""

        async def feed() -> None:
            while True:
                await self._ask_next()
                await asyncio.sleep(1 / per_s)

        async def start() -> None:
            await self._stop_feeding()
            self._feeder = asyncio.create_task(feed())

        self.do(start())

    def history(self, span: str, node: int) -> dict[str, Any]:
        """What /v1/history says."""
        address = f"{self.url}v1/history?span={span}&node={node}"
        with urllib.request.urlopen(address, timeout=30) as reply:
            told: dict[str, Any] = json.load(reply)
        return told

    async def _ask_next(self) -> None:
        seed = next(self._seeds)
        image = picture(seed)
        label = None
        if seed % LABEL_EVERY == 0:
            label = seed // LABEL_EVERY % CLASSES
        await self.gateway.classify(image, label=label)

    async def _stop_feeding(self) -> None:
        if self._feeder is not None:
            self._feeder.cancel()
            await asyncio.gather(self._feeder, return_exceptions=True)
            self._feeder = None
