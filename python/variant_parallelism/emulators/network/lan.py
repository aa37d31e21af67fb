"""Emulated boards and the gateway's machine on one switch, in one process and without root."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Collection
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType

from variant_parallelism.emulators.faults import Direction
from variant_parallelism.emulators.network.attachment import Address, Attachment, DatagramPort
from variant_parallelism.emulators.network.host import GatewayHost
from variant_parallelism.emulators.network.pcapng import Recorder
from variant_parallelism.emulators.network.switch import Port, Switch
from variant_parallelism.emulators.ports import LOOPBACK, PortPool

GATEWAY = IPv4Address("10.77.0.1")
NETMASK = IPv4Address("255.255.0.0")
GROUP = IPv4Address("239.77.80.1")
# Locally administered: 02, then "VP".
GATEWAY_MAC = bytes.fromhex("025650000001")
FIRST_NODE = GATEWAY + 10
_BURST = 64


class _DatagramStation:
    """The switch's end of a `DatagramPort`."""

    def __init__(self, board: Address) -> None:
        self._board = board
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind((LOOPBACK, 0))
        self.address: Address = self._socket.getsockname()

    def send(self, frame: bytes) -> None:
        # A full buffer loses it, as a full FIFO does.
        with suppress(OSError):
            self._socket.sendto(frame, self._board)

    def open(self, port: Port) -> None:
        def drain() -> None:
            with suppress(OSError):
                for _ in range(_BURST):
                    frame, source = self._socket.recvfrom(65536)
                    if source == self._board:
                        port.receive(frame)

        asyncio.get_running_loop().add_reader(self._socket, drain)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()


class SwitchedNetwork:
    """A `Network` of `DatagramPort`s around a `Switch`; an asynchronous context manager.

    `ports` is where boards get their UDP ports from. Everything is recorded to `recording`, if
    given. Nodes in `unicast_only` are told of no multicast group. All of it runs in the event loop
    that it was entered in, and so must `attach`, for one fleet.

    `gateway` and `nodes[id]` are the switch's ports, with their cables and faults; `host` is the
    gateway's machine.
    """

    listen_host = LOOPBACK

    def __init__(
        self,
        ports: PortPool,
        recording: Path | None = None,
        unicast_only: Collection[int] = (),
    ) -> None:
        self.nodes: dict[int, Port] = {}
        self._pool = ports
        self._recording = recording
        self._unicast_only = unicast_only
        self._stations: list[_DatagramStation] = []

    async def __aenter__(self) -> SwitchedNetwork:
        self._recorder = Recorder(self._recording) if self._recording else None
        self._switch = Switch(self._recorder)
        self.gateway = self._switch.add_port("gateway", Direction.TO_GATEWAY, self._to_host)
        self.host = GatewayHost(GATEWAY, GATEWAY_MAC, self.gateway.receive)
        self.group = GROUP, self.host.join(GROUP)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._switch.close()
        self.host.close()
        for station in self._stations:
            station.close()
        if self._recorder is not None:
            self._recorder.close()

    def attach(self, node: int, node_port: int) -> Attachment:
        address = FIRST_NODE + len(self.nodes)
        board = LOOPBACK, self._pool.take()
        station = _DatagramStation(board)
        port = self._switch.add_port(f"node-{node}", Direction.TO_NODE, station.send)
        station.open(port)
        self._stations.append(station)
        self.nodes[node] = port
        host, number = self.host.add_node(address, node_port)
        return Attachment(
            port=DatagramPort(board=board, switch=station.address),
            endpoint=f"{host}:{number}",
            address=address,
            netmask=NETMASK,
            gateway=GATEWAY,
            group=None if node in self._unicast_only else self.group,
        )

    def cut(self, node: int) -> None:
        """Pull a node's cable."""
        self.nodes[node].cut()

    def restore(self, node: int) -> None:
        """Plug it in again."""
        self.nodes[node].restore()

    def flush(self) -> None:
        """Bring everything that has passed so far into the recording's file."""
        if self._recorder is not None:
            self._recorder.flush()

    def _to_host(self, frame: bytes) -> None:
        self.host.receive(frame)
