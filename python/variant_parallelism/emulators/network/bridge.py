"""Emulated boards on a bridge of the Linux kernel, where the gateway's sockets are the real thing.

For a process in a network namespace of its own (`run_privately`).
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import socket
import struct
import subprocess
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from variant_parallelism.emulators.network.attachment import Attachment, TapPort
from variant_parallelism.emulators.network.lan import FIRST_NODE, GATEWAY, GROUP, NETMASK
from variant_parallelism.emulators.network.namespace import in_private_namespace
from variant_parallelism.emulators.network.pcapng import Recorder
from variant_parallelism.errors import VpError

_BRIDGE = "gateway"
_GROUP_PORT = 47801
_ALL_PROTOCOLS = 3
# linux/sockios.h and linux/ethtool.h
_SIOCETHTOOL = 0x8946
_ETHTOOL_STXCSUM = 0x17
# Every interface would speak IPv6 by itself.
_NO_IPV6 = Path("/proc/sys/net/ipv6/conf/default/disable_ipv6")
# The bridge asks for members (IGMP) and believes the answers after a tenth of a second: from then
# on a group's frames reach only the nodes that joined.
_SNOOPING = (
    f"link set {_BRIDGE} type bridge mcast_snooping 1 mcast_query_response_interval 10",
    f"link set {_BRIDGE} type bridge mcast_querier 1",
)


class BridgedNetwork:
    """A `Network` of `TapPort`s; an asynchronous context manager, like `SwitchedNetwork`.

    Interface `gateway` is the bridge and this machine's place on it, `node-ID` a node's tap. The
    recording calls a frame inbound if it enters the bridge, whoever sent it.
    """

    listen_host = str(GATEWAY)
    group = GROUP, _GROUP_PORT

    def __init__(self, recording: Path | None = None, unicast_only: Collection[int] = ()) -> None:
        self._recording = recording
        self._unicast_only = unicast_only
        self._taps: list[str] = []
        self._sniffer: socket.socket | None = None
        self._recorder: Recorder | None = None

    async def __aenter__(self) -> BridgedNetwork:
        if not in_private_namespace():
            raise VpError("a bridge is made in a network namespace of its own only: run_privately")
        with suppress(OSError):
            _NO_IPV6.write_text("1")
        _ip(
            "link set lo up",
            f"link add {_BRIDGE} type bridge stp_state 0 forward_delay 0",
            *_SNOOPING,
            f"addr add {GATEWAY}/{NETMASK} dev {_BRIDGE}",
            f"link set {_BRIDGE} up",
        )
        _write_checksums(_BRIDGE)
        if self._recording is not None:
            self._recorder = Recorder(self._recording)
            self._sniff()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._record()
        if self._sniffer is not None:
            asyncio.get_running_loop().remove_reader(self._sniffer)
            self._sniffer.close()
        if self._recorder is not None:
            self._recorder.close()
        _ip(*(f"link delete {tap}" for tap in self._taps), f"link delete {_BRIDGE}")

    def attach(self, node: int, node_port: int) -> Attachment:
        tap = f"node-{node}"
        address = FIRST_NODE + len(self._taps)
        _ip(f"tuntap add dev {tap} mode tap", f"link set {tap} master {_BRIDGE} up")
        self._taps.append(tap)
        return Attachment(
            port=TapPort(tap),
            endpoint=f"{address}:{node_port}",
            address=address,
            netmask=NETMASK,
            gateway=GATEWAY,
            group=None if node in self._unicast_only else self.group,
        )

    def cut(self, node: int) -> None:
        """Pull a node's cable."""
        _ip(f"link set node-{node} down")

    def restore(self, node: int) -> None:
        """Plug it in again."""
        _ip(f"link set node-{node} up")

    def flush(self) -> None:
        """Bring everything that has passed so far into the recording's file."""
        self._record()
        if self._recorder is not None:
            self._recorder.flush()

    def _sniff(self) -> None:
        everything = socket.htons(_ALL_PROTOCOLS)
        self._sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, everything)
        self._sniffer.setblocking(False)
        self._sniffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        asyncio.get_running_loop().add_reader(self._sniffer, self._record)

    def _record(self) -> None:
        if self._sniffer is None or self._recorder is None:
            return
        with suppress(OSError):
            while True:
                frame, (interface, _, kind, *_) = self._sniffer.recvfrom(65536)
                if interface == _BRIDGE or interface in self._taps:
                    leaves = kind == socket.PACKET_OUTGOING
                    self._recorder.record(interface, leaves == (interface == _BRIDGE), frame)


def _write_checksums(interface: str) -> None:
    """Have the kernel write checksums at once: the recording would have frames without."""
    off = array.array("I", [_ETHTOOL_STXCSUM, 0])
    request = struct.pack("16sP", interface.encode(), off.buffer_info()[0])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCETHTOOL, request)


def _ip(*commands: str) -> None:
    run = subprocess.run(
        ["ip", "-batch", "-"], input="\n".join(commands), capture_output=True, text=True
    )
    if run.returncode != 0:
        raise VpError(f"ip {'; '.join(commands)}: {run.stderr.strip()}")
