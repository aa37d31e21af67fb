"""How an emulated board's Ethernet is plugged in, whichever emulator runs the board.

Either port carries whole Ethernet frames, destination MAC first, without their checksum (FCS).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Protocol

Address = tuple[str, int]
"""IPv4 address and UDP port."""


@dataclass(frozen=True)
class DatagramPort:
    """One UDP datagram is one frame.

    The emulator binds `board` and sends every frame of the board from there to `switch`; what comes
    from `switch` is for the board. As on a wire, a frame that nobody listens to is lost.
    """

    board: Address
    switch: Address


@dataclass(frozen=True)
class TapPort:
    """A tap interface that exists already, in this process's network namespace."""

    interface: str


@dataclass(frozen=True)
class Attachment:
    """A node's place on an emulated network.

    `endpoint` (`host:port`) is where the gateway reaches it; the rest but `port` is what the node
    is provisioned with. `group` is the address and port of its multicast group, None: it has none.
    """

    port: DatagramPort | TapPort
    endpoint: str
    address: IPv4Address
    netmask: IPv4Address
    gateway: IPv4Address
    group: tuple[IPv4Address, int] | None


class Network(Protocol):
    """A local network for emulated boards, with the gateway's machine on it."""

    @property
    def listen_host(self) -> str:
        """The local IPv4 address of the gateway's UDP socket and its interface for multicast."""

    @property
    def group(self) -> tuple[IPv4Address, int]:
        """The multicast group that the gateway sends to."""

    def attach(self, node: int, node_port: int) -> Attachment:
        """Plug a node in that receives on UDP port `node_port`."""
