"""A fleet's nodes without boards: threads, sockets and the C of python/native/vp_virtual.h."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, fields
from ipaddress import IPv4Address
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variant_parallelism._native import ffi, lib
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet, NodeTable, parse_endpoint
from variant_parallelism.gateway.state import minutes_since_2024
from variant_parallelism.keys import group_key, node_key
from variant_parallelism.virtual.answers import AnswerTable
from variant_parallelism.virtual.faults import NodeFaults
from variant_parallelism.virtual.sockets import open_sockets
from variant_parallelism.wire import SEQUENCE_BITS

_SLICE_NS = 20_000_000


@dataclass(frozen=True)
class NodeCounts:
    """What a node, or all of them, did since the start; see `vp_virtual_counts`."""

    received: int = 0
    rejected: int = 0
    sent: int = 0
    hellos: int = 0
    sacks: int = 0
    predictions: int = 0
    errors: int = 0
    triggers: int = 0
    dropped: int = 0
    duplicated: int = 0
    garbled: int = 0
    forged: int = 0
    lies: int = 0
    stalled: int = 0

    @classmethod
    def read(cls, counts: Any) -> NodeCounts:
        """From the C struct."""
        return cls(**{field.name: getattr(counts, field.name) for field in fields(cls)})

    def __add__(self, other: NodeCounts) -> NodeCounts:
        return NodeCounts(
            **{
                field.name: getattr(self, field.name) + getattr(other, field.name)
                for field in fields(self)
            }
        )


class VirtualNodes:
    """Some or all UDP nodes of a fleet, each at the address that the fleet file gives it.

    A context manager: a thread runs them meanwhile. Their addresses must be IPv4 loopback ones.
    The methods may be called from any thread.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        nodes: Iterable[int] | None = None,
        table: AnswerTable | None = None,
        answer_ms: float = 0.0,
        sensor: bool = True,
        seed: int = 1,
        boot: int | None = None,
        sent_ns: NDArray[np.uint64] | None = None,
    ) -> None:
        """`nodes`: ids (default: every UDP node). What is not in `table` is answered by
        `answers.rule`, `answer_ms` after the input. `sensor`: they answer to triggers.
        `boot`: their first boot counter (default: a new one every minute).
        `sent_ns` (65536,): filled with the time at which the last prediction of each request was
        sent. VpError if a node's address is none that a virtual node can have.
        """
        self.fleet = fleet
        wanted = None if nodes is None else set(nodes)
        chosen = [
            node
            for node in fleet.nodes
            if (node.udp is not None if wanted is None else node.id in wanted)
        ]
        self._places = _places(chosen)
        self._index = {node.id: at for at, (node, _, _) in enumerate(self._places)}
        self._ports = sorted({port for _, _, port in self._places})
        self._table = table
        self._sensor = sensor
        self._answer_us = round(answer_ms * 1000)
        self._commands: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._failure: str | None = None
        self._keep: list[Any] = []
        self._make(seed, minutes_since_2024() if boot is None else boot, sent_ns)

    @property
    def ids(self) -> list[int]:
        """The nodes' ids, in the order of their addresses."""
        return list(self._index)

    # Building the C structs.

    def _make(self, seed: int, boot: int, sent_ns: NDArray[np.uint64] | None) -> None:
        fleet, count = self.fleet, len(self._places)
        network = fleet.table.network
        self._group: tuple[IPv4Address, int] | None = None
        if network is not None and network.multicast is not None:
            host, port = parse_endpoint(network.multicast)
            self._group = (IPv4Address(host), port)
        self._nodes = ffi.new("vp_virtual_node[]", count)
        self._c = ffi.new("vp_virtual *")
        host, port = parse_endpoint(fleet.table.gateway.listen)
        address = IPv4Address("127.0.0.1" if host in ("0.0.0.0", "localhost") else host)
        c = self._c
        c.nodes, c.node_count = self._nodes, count
        c.wakes = self._kept(ffi.new("uint64_t[]", count))
        c.gateway_address, c.gateway_port = int(address), port
        c.group_address = 0 if self._group is None else int(self._group[0])
        c.fleet, c.classes = fleet.table.id, len(fleet.manifest.classes)
        c.authenticated = fleet.key is not None
        c.hello_ms = fleet.table.hello_ms
        c.image_capacity = lib.VP_VIRTUAL_MAX_CHUNKS * lib.VP_WIRE_CHUNK_SIZE
        c.random = (seed * 0x9E3779B97F4A7C15 + 1) % 2**64 or 1
        if fleet.key is not None:
            c.group_key = group_key(fleet.key, fleet.table.id)
        if sent_ns is not None:
            assert sent_ns.shape == (lib.VP_VIRTUAL_REQUESTS,) and sent_ns.dtype == np.uint64
            c.sent_ns = self._kept(ffi.from_buffer("uint64_t[]", sent_ns, require_writable=True))
        if self._table is not None:
            self._use(self._table)
        columns = {variant.name: at for at, variant in enumerate(fleet.manifest.variants)}
        for at, (node, ip, node_port) in enumerate(self._places):
            self._describe(self._nodes[at], node, columns[node.variant])
            self._nodes[at].address, self._nodes[at].socket = int(ip), self._ports.index(node_port)
            self._nodes[at].counter = boot << SEQUENCE_BITS

    def _describe(self, c: Any, node: NodeTable, column: int) -> None:
        fleet, variant = self.fleet, self.fleet.variant_of(node)
        c.id, c.column, c.answer_us, c.alive = node.id, column, self._answer_us, 1
        if fleet.key is not None:
            c.key = node_key(fleet.key, fleet.table.id, node.id)
        hello = c.hello
        hello.model_hash = bytes.fromhex(variant.hash)
        hello.classes = len(fleet.manifest.classes)
        hello.height = hello.width = variant.resolution
        hello.channels = fleet.manifest.input.channels
        hello.capacity = self._c.image_capacity
        hello.reset_cause = lib.VP_RESET_POWER
        hello.board = b"virtual"
        hello.flags = (lib.VP_HELLO_SENSOR if self._sensor else 0) | (
            lib.VP_HELLO_MULTICAST if self._group is not None else 0
        )

    def _use(self, table: AnswerTable) -> None:
        c, (rows, columns, depth) = self._c, table.classes.shape
        if columns != len(self.fleet.manifest.variants):
            raise VpError(
                f"the table of answers is for {columns} variants, the fleet has "
                f"{len(self.fleet.manifest.variants)}"
            )
        if rows and int(table.classes.max()) >= c.classes:
            raise VpError(f"the table of answers has more than the fleet's {c.classes} classes")
        entries = np.zeros((rows, columns, depth), [("index", "<u2"), ("score", "i1"), ("_", "u1")])
        entries["index"], entries["score"] = table.classes, table.scores
        c.digests = self._kept(ffi.from_buffer("uint64_t[]", np.ascontiguousarray(table.digests)))
        c.table = self._kept(ffi.from_buffer("vp_entry[]", entries))
        c.rows, c.columns, c.depth = rows, columns, depth

    def _kept(self, data: Any) -> Any:
        """C points to it, so it must live as long as the nodes."""
        self._keep.append(data)
        return data

    # Running.

    def __enter__(self) -> VirtualNodes:
        self._sockets = open_sockets(self._ports, self._group)
        c, firsts = self._c, [0] * (len(self._sockets) + 1)
        for at in range(len(self._places)):
            firsts[self._nodes[at].socket + 1] = at + 1
        firsts = [max(firsts[: number + 1]) for number in range(len(firsts))]
        c.sockets = self._kept(ffi.new("int[]", [opened.fileno() for opened in self._sockets]))
        c.first_nodes = self._kept(ffi.new("uint32_t[]", firsts))
        c.socket_count = len(self._sockets)
        for at in range(c.node_count):
            lib.vp_virtual_boot(c, at)
        self._thread = threading.Thread(target=self._run, name="virtual nodes", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()
        for opened in self._sockets:
            opened.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            if lib.vp_virtual_run(self._c, lib.vp_virtual_now() + _SLICE_NS) < 0:
                self._failure = f"virtual nodes: errno {self._c.error}"
                self._stopping.set()
            while True:
                try:
                    command = self._commands.get_nowait()
                except queue.Empty:
                    break
                command()

    def _between(self, change: Callable[[], Any]) -> Any:
        """Run `change` while the C does not; its result."""
        done: Future[Any] = Future()

        def command() -> None:
            try:
                done.set_result(change())
            except BaseException as error:
                done.set_exception(error)

        self._commands.put(command)
        while self._thread.is_alive():
            try:
                return done.result(timeout=0.2)
            except TimeoutError:
                continue
        if not done.done():
            raise VpError(self._failure or "the virtual nodes were stopped")
        return done.result()

    # What happens to nodes.

    def _node(self, node: int) -> Any:
        return self._nodes[self._index[node]]

    def die(self, node: int) -> None:
        """No power: it hears and says nothing."""

        def change() -> None:
            self._node(node).alive = 0

        self._between(change)

    def revive(self, node: int) -> None:
        """Power again: it boots and says HELLO, under the next boot counter."""

        def change() -> None:
            c = self._node(node)
            c.alive = 1
            c.counter = ((c.counter >> SEQUENCE_BITS) + 1) << SEQUENCE_BITS
            lib.vp_virtual_boot(self._c, self._index[node])

        self._between(change)

    def fault(self, node: int, faults: NodeFaults) -> None:
        """From now on it does this wrong, and nothing else."""

        def change() -> None:
            for name, value in faults.as_c().items():
                setattr(self._node(node).faults, name, value)

        self._between(change)

    def counts(self) -> dict[int, NodeCounts]:
        """What each node did, by id."""
        counts: dict[int, NodeCounts] = self._between(
            lambda: {node: NodeCounts.read(self._node(node).counts) for node in self._index}
        )
        return counts

    def total(self) -> NodeCounts:
        """What all of them did."""
        return sum(self.counts().values(), NodeCounts())


def _places(nodes: list[NodeTable]) -> list[tuple[NodeTable, IPv4Address, int]]:
    """Node, address and port, by port and then address, as the C wants them."""
    places = []
    for node in nodes:
        host, port = parse_endpoint(node.udp or "")
        try:
            address = IPv4Address("127.0.0.1" if host == "localhost" else host)
        except ValueError:
            address = None
        if address is None or not address.is_loopback:
            raise VpError(f"node {node.id} is at {node.udp}: virtual nodes live at 127.x.y.z")
        places.append((node, address, port))
    ports = {port for _, _, port in places}
    if not places or len(ports) >= lib.VP_VIRTUAL_BATCH:
        raise VpError(
            "no UDP nodes to be virtual"
            if not places
            else f"virtual nodes on {len(ports)} ports: give them addresses of their own instead"
        )
    return sorted(places, key=lambda place: (place[2], place[1]))
