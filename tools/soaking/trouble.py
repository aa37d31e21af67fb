"""What goes wrong during a soak, and when: nodes, broker, disk, fleet file, strangers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from soaking.stage import DEADLINES_MS, FIRST_VIRTUAL, Stage
from variant_parallelism import AsyncClient
from variant_parallelism.client import GatewayError
from variant_parallelism.fleet import parse_endpoint
from variant_parallelism.virtual import NodeFaults

_PAUSE_S = (0.5, 2.5)
_LASTS_S = (2.0, 12.0)
_BOARDS_LEFT = 2
_GARBAGE = 200
_RELOAD_S = 10.0

Say = Callable[[str], None]


class Trouble:
    """Starts something every second or two and ends it some seconds later; a seed decides what.

    At least half of the virtual nodes live at any time, but for moments with only one, and at least
    two boards.
    """

    def __init__(self, stage: Stage, seed: int, say: Say) -> None:
        self.done: Counter[str] = Counter()
        self.reloads_missed = 0
        self._stage = stage
        self._random = random.Random(seed)
        self._say = say
        self._virtual = [node.id for node in stage.fleet.nodes if node.id >= FIRST_VIRTUAL]
        self._busy: set[object] = set()
        self._file = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._kinds: list[tuple[float, Callable[[], Coroutine[Any, Any, None]]]] = [
            (8, self._virtual_dies),
            (6, self._virtual_misbehaves),
            (2, self._all_but_one),
            (2, self._garbage),
            (2, self._http_garbage),
            (1, self._reload),
            (1, self._node_leaves),
            (1, self._broken_file),
            (1, self._broker_dies),
            (1, self._disk_full),
        ]
        if stage.boards:
            self._kinds += [(5, self._board_dies), (2, self._board_stalls)]

    async def run(self, seconds: float) -> None:
        """Returns when the time is over and everything is whole again."""
        end = time.monotonic() + seconds
        first = [kind for _, kind in self._kinds]
        self._random.shuffle(first)
        async with asyncio.TaskGroup() as group:
            while time.monotonic() < end and not self._stopping.is_set():
                weights = [weight for weight, _ in self._kinds]
                # Everything once before anything twice, so that a short soak sees all of it.
                kind = (
                    first.pop()
                    if first
                    else self._random.choices([kind for _, kind in self._kinds], weights)[0]
                )
                group.create_task(kind())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._random.uniform(*_PAUSE_S)):
                        await self._stopping.wait()

    def stop(self) -> None:
        """Begin nothing more: `run` returns once everything is whole again."""
        self._stopping.set()

    @contextlib.contextmanager
    def _alone(self, *things: object) -> Iterator[bool]:
        """Whether none of these is in trouble already; they are, inside."""
        free = not self._busy.intersection(things)
        if free:
            self._busy.update(things)
        try:
            yield free
        finally:
            if free:
                self._busy.difference_update(things)

    async def _last(self) -> None:
        await asyncio.sleep(self._random.uniform(*_LASTS_S))

    def _count(self, what: str, detail: str = "") -> None:
        self.done[what] += 1
        self._say(f"{what} {detail}".strip())

    # Nodes.

    async def _virtual_dies(self) -> None:
        node = self._random.choice(self._virtual)
        crowded = 2 * len(self._stage.dead) >= len(self._virtual)
        with self._alone(
            node,
        ) as free:
            if not free or crowded:
                return
            self._count("virtual node dies", str(node))
            self._stage.dead.add(node)
            await asyncio.to_thread(self._stage.virtual.die, node)
            await self._last()
            await asyncio.to_thread(self._stage.virtual.revive, node)
            self._stage.dead.discard(node)

    async def _all_but_one(self) -> None:
        spared = self._random.choice(self._virtual)
        victims = [node for node in self._virtual if node not in self._busy and node != spared]
        with self._alone(spared, *victims) as free:
            if not free:
                return
            self._count("all virtual nodes but one die", f"({spared} lives)")
            self._stage.dead.update(victims)
            for node in victims:
                await asyncio.to_thread(self._stage.virtual.die, node)
            await self._last()
            for node in victims:
                await asyncio.to_thread(self._stage.virtual.revive, node)
            self._stage.dead.difference_update(victims)

    async def _virtual_misbehaves(self) -> None:
        node = self._random.choice(self._virtual)
        faults = self._random.choice(
            [
                NodeFaults(lie=True),
                NodeFaults(stall=True),
                NodeFaults(drop=0.3),
                NodeFaults(duplicate=0.5),
                NodeFaults(garble=0.3),
                NodeFaults(forge=1.0),
                NodeFaults(slow_ms=300),
            ]
        )
        with self._alone(node) as free:
            if not free:
                return
            (name,) = faults.model_dump(exclude_defaults=True)
            self._count(f"virtual node does wrong: {name}", str(node))
            if faults.lie:
                self._stage.lies(node, True)
            await asyncio.to_thread(self._stage.virtual.fault, node, faults)
            await self._last()
            await asyncio.to_thread(self._stage.virtual.fault, node, NodeFaults())
            if faults.lie:
                self._stage.lies(node, False)

    def _board(self) -> int | None:
        whole = [node for node in self._stage.boards if node not in self._busy]
        return self._random.choice(whole) if len(whole) > _BOARDS_LEFT else None

    async def _board_dies(self) -> None:
        node = self._board()
        if node is None:
            return
        with self._alone(node):
            self._count("board loses power", str(node))
            await asyncio.to_thread(self._stage.boards[node].kill)
            await self._last()
            await asyncio.to_thread(self._stage.boards[node].start)

    async def _board_stalls(self) -> None:
        node = self._board()
        if node is None:
            return
        with self._alone(node):
            self._count("board freezes", str(node))
            await asyncio.to_thread(self._stage.boards[node].pause)
            await self._last()
            await asyncio.to_thread(self._stage.boards[node].resume)

    # Everything else.

    async def _broker_dies(self) -> None:
        with self._alone("broker") as free:
            if not free:
                return
            self._count("broker is killed")
            await asyncio.to_thread(self._stage.broker.kill)
            await self._last()
            self._stage.broker.start()

    async def _disk_full(self) -> None:
        with self._alone("disk") as free:
            if not free:
                return
            self._count("disk is full", f"({self._stage.disk.way})")
            end = time.monotonic() + self._random.uniform(*_LASTS_S)
            try:
                while time.monotonic() < end:
                    await asyncio.to_thread(self._stage.disk.fill, self._stage.gateway.pid)
                    await asyncio.sleep(0.5)
            finally:
                self._stage.disk.free()

    async def _reload(self) -> None:
        """Another deadline, which the gateway tells afterwards."""
        async with self._file:
            self._count("fleet file changes, SIGHUP")
            deadline_ms = DEADLINES_MS[self.done["fleet file changes, SIGHUP"] % 2]

            async def is_told(client: AsyncClient) -> bool:
                return (await client.fleet()).deadline_ms == deadline_ms

            await self._rewrite(is_told, deadline_ms=deadline_ms)

    async def _node_leaves(self) -> None:
        """A node is taken out of the fleet file, and put in again."""
        node = self._random.choice(self._virtual)
        async with self._file:
            self._count("node leaves the fleet file, SIGHUP", str(node))

            async def is_gone(client: AsyncClient) -> bool:
                return all(other.id != node for other in await client.nodes())

            async def is_back(client: AsyncClient) -> bool:
                return not await is_gone(client)

            whole = self._stage.fleet.nodes
            others = [other for other in whole if other.id != node]
            await self._rewrite(is_gone, nodes=others)
            await self._last()
            await self._rewrite(is_back, nodes=whole)

    async def _rewrite(
        self, reached: Callable[[AsyncClient], Coroutine[Any, Any, bool]], **changes: object
    ) -> None:
        """Write the fleet file, say so, and wait until the gateway's API shows it."""
        self._stage.write_fleet(**changes)
        self._stage.gateway.reload()
        end = time.monotonic() + _RELOAD_S
        async with AsyncClient(f"http://{self._stage.fleet.table.gateway.http}") as client:
            while time.monotonic() < end:
                with contextlib.suppress(GatewayError):
                    if await reached(client):
                        return
                await asyncio.sleep(0.1)
        self.reloads_missed += 1

    async def _broken_file(self) -> None:
        async with self._file:
            self._count("fleet file breaks, SIGHUP")
            whole = self._stage.path.read_text(encoding="utf-8")
            self._stage.path.write_text("nonsense = [\n" + whole, encoding="utf-8")
            self._stage.gateway.reload()
            await asyncio.sleep(1.0)
            self._stage.path.write_text(whole, encoding="utf-8")

    async def _garbage(self) -> None:
        """Datagrams of a stranger: noise, and headers of this fleet under no key."""
        self._count("garbage on the wire")
        address = parse_endpoint(self._stage.fleet.table.gateway.listen)
        fleet = self._stage.fleet.table.id
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.setblocking(False)
            for _ in range(_GARBAGE):
                noise = os.urandom(self._random.randrange(1, 600))
                if self._random.random() < 0.5:
                    node = self._random.choice(self._virtual)
                    noise = bytes([0x35, fleet]) + node.to_bytes(2, "little") + noise[:29]
                with contextlib.suppress(OSError):
                    stranger.sendto(noise, address)
            await asyncio.sleep(0)

    async def _http_garbage(self) -> None:
        self._count("garbage over HTTP")
        host, port = parse_endpoint(self._stage.fleet.table.gateway.http)
        bodies = [
            os.urandom(300),
            b"POST /v1/classify HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nshort",
            f"POST /v1/classify HTTP/1.1\r\nHost: {host}:{port}\r\n"
            "Content-Length: 4\r\n\r\nnope".encode(),
            b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        ]
        for body in bodies:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(host, port)
                writer.write(body)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(reader.read(1000), 0.5)
                writer.close()
