"""`vp gateway` as a process of its own, for tests of what it does as one."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import socket
import sys
import urllib.request
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fleet_factory import KEY, make_image, write_fleet_file
from free_ports import free_ports
from loopback_nodes import tcp_url
from variant_parallelism.fleet import Fleet, load_fleet

LIMIT_S = 45.0
VP = (sys.executable, "-m", "variant_parallelism.cli")


@dataclass
class GatewayProcess:
    """One that runs, with its log as JSON."""

    process: asyncio.subprocess.Process
    fleet: Fleet

    async def event(self, kind: str, **fields: object) -> dict[str, Any]:
        """The next event of this kind with these fields; those before it are dropped."""
        assert self.process.stdout is not None
        async with asyncio.timeout(LIMIT_S):
            while line := await self.process.stdout.readline():
                event: dict[str, Any] = json.loads(line)
                matches = all(event.get(name) == value for name, value in fields.items())
                if event["event"] == kind and matches:
                    return event
        raise AssertionError(f"the log ended without {kind} {fields}")

    async def up(self, count: int) -> None:
        """Return once so many nodes are up, and the API answers."""
        async with asyncio.timeout(LIMIT_S):
            while True:
                with contextlib.suppress(OSError):
                    nodes = (await self.get("/v1/nodes"))["nodes"]
                    if sum(node["state"] == "up" for node in nodes) == count:
                        return
                await asyncio.sleep(0.02)

    async def asked(self, count: int) -> None:
        """Return once it has taken so many requests."""
        async with asyncio.timeout(LIMIT_S):
            while (await self.get("/v1/counters"))["requests"] < count:
                await asyncio.sleep(0.02)

    async def get(self, path: str, body: bytes | None = None) -> Any:
        """What the HTTP API answers; a body makes it a POST."""
        url = f"http://{self.fleet.table.gateway.http}{path}"

        def ask() -> Any:
            with urllib.request.urlopen(url, body, timeout=LIMIT_S) as reply:
                return json.load(reply)

        return await asyncio.to_thread(ask)

    async def classify(self, seed: int = 0, deadline_ms: int = 20_000) -> Any:
        return await self.get(f"/v1/classify?deadline_ms={deadline_ms}", picture(self.fleet, seed))

    async def ended(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send it a signal; its exit status."""
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), LIMIT_S)


def picture(fleet: Fleet, seed: int = 0) -> bytes:
    """A PNG of `make_image`."""
    file = io.BytesIO()
    Image.fromarray(np.asarray(make_image(fleet, seed))[:, :, 0]).save(file, "png")
    return file.getvalue()


@contextlib.asynccontextmanager
async def gateway_of(
    path: Path,
    *,
    stdout: int = asyncio.subprocess.PIPE,
    wait: bool = True,
    program: tuple[str, ...] = VP,
    **options: Any,
) -> AsyncIterator[GatewayProcess]:
    """The gateway of a fleet file, serving (unless not `wait`), killed at the end."""
    environment = dict(os.environ) | options.pop("env", {})
    process = await asyncio.create_subprocess_exec(
        *program,
        "gateway",
        "--log-json",
        "--state-dir",
        str(path.parent / "state"),
        str(path),
        stdout=stdout,
        env=environment,
        **options,
    )
    gateway = GatewayProcess(process, load_fleet(path))
    try:
        if wait:
            await gateway.event("serving")
        yield gateway
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def write_loopback(folder: Path, udp: int = 2, serial: int = 0, **top: Any) -> Path:
    """A fleet file of UDP nodes 0.. and serial ones after them, with a key, on free ports of this
    machine."""
    key = folder / "fleet.key"
    key.write_text(KEY.hex(), encoding="ascii")
    key.chmod(0o600)
    listen, *ports = free_ports(socket.SOCK_DGRAM, 1 + udp)
    (http,) = free_ports(socket.SOCK_STREAM, 1)
    gateway = {"listen": f"127.0.0.1:{listen}", "http": f"127.0.0.1:{http}"}
    nodes: list[dict[str, object]] = [
        {"id": index, "variant": f"v{index}", "board": "mps2-an386", "udp": f"127.0.0.1:{port}"}
        for index, port in enumerate(ports)
    ]
    nodes += [
        {"id": index, "variant": f"v{index}", "board": "mps2-an386", "serial": tcp_url()}
        for index in range(udp, udp + serial)
    ]
    return write_fleet_file(folder, nodes, key_file=key.name, gateway=gateway, **top)
