"""Boots the emulated nodes of a fleet and says where to reach them."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from types import TracebackType
from typing import IO

from variant_parallelism.emulators.board import (
    Board,
    BoardConfig,
    Emulator,
    PortTakenError,
    Transport,
)
from variant_parallelism.emulators.boot_counter import BootCounters
from variant_parallelism.emulators.network.attachment import Attachment, Network
from variant_parallelism.emulators.ports import LOOPBACK, PortPool
from variant_parallelism.emulators.qemu import (
    GUEST_ADDRESS,
    GUEST_UDP_PORT,
    HOST_ADDRESS,
    NETMASK,
    QemuEmulator,
)
from variant_parallelism.emulators.renode import RenodeEmulator
from variant_parallelism.errors import VpError
from variant_parallelism.firmware import load_board
from variant_parallelism.fleet import Fleet, GatewayTable, NetworkTable, NodeTable, parse_endpoint
from variant_parallelism.keys import group_key, node_key
from variant_parallelism.wire import Provision

EMULATORS: dict[str, Emulator] = {"qemu": QemuEmulator(), "renode": RenodeEmulator()}

_BOOT_FILE = "boot-counters.json"
_PORT_ATTEMPTS = 5


class EmulatedFleet:
    """Booted boards and the fleet with the endpoints that they have; closing powers them off."""

    def __init__(
        self, fleet: Fleet, boards: dict[int, Board], workdir: Path, lock: IO[bytes]
    ) -> None:
        self.fleet = fleet
        self.boards = boards
        self.workdir = workdir
        self._lock = lock

    def __enter__(self) -> EmulatedFleet:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Power off every board."""
        for board in self.boards.values():
            board.kill()
        self._lock.close()


def launch_fleet(
    fleet: Fleet,
    images: Mapping[int, Path],
    workdir: Path,
    *,
    key: bytes | None = None,
    emulator: str = "qemu",
    ports: PortPool | None = None,
    reply_ports: Mapping[int, int] | None = None,
    keep_ports: bool = False,
    network: Network | None = None,
) -> EmulatedFleet:
    """Boot the nodes that the fleet declares `emulated` and return them with their endpoints.

    `images` gives the ELF file of each of them by node id. `key` replaces the fleet's key if it is
    not None. `workdir` keeps the boot counters, the provisioning blocks (they hold keys: mode 600)
    and the emulator's messages; it is made if missing. `reply_ports` names, for single nodes, the
    UDP port on this machine that the node sends to instead of the gateway's (a link in between).
    The gateway gets free ports, with `keep_ports` those of the fleet if they are free. UDP nodes
    are plugged into `network`, and the gateway listens on it; without one each node has a network
    of its own, where no multicast reaches it.

    Nodes with `serial` or `udp` are left as they are; if there are none, the gateway listens on the
    loopback interface alone. Raises VpError, with no board left running.
    """
    backend = EMULATORS[emulator]
    emulated = _emulated_nodes(fleet, backend)
    backend.check()
    pool = ports or PortPool()
    local_only = len(emulated) == len(fleet.nodes)
    gateway, gateway_port = _gateway(fleet, pool, local_only, keep_ports, network)
    if key is not None:
        fleet = replace(fleet, key=key)

    running = EmulatedFleet(fleet, {}, workdir, _lock(workdir))
    try:
        counters = BootCounters(workdir / _BOOT_FILE)
        for node in emulated:
            reply_port = (reply_ports or {}).get(node.id, gateway_port)
            attachment = None
            if network is not None and node.emulated == "udp":
                attachment = network.attach(node.id, GUEST_UDP_PORT)
            config = BoardConfig(
                node=node.id,
                board=load_board(node.board),
                image=images[node.id].resolve(),
                transport=_transport(node),
                port=0,
                provision=_provision(fleet, node, reply_port, attachment),
                next_boot=partial(counters.next, node.id),
                workdir=workdir.resolve(),
                attachment=attachment,
            )
            running.boards[node.id] = _boot(backend, config, pool)
    except BaseException:
        running.close()
        raise
    nodes = [_with_endpoint(node, running.boards.get(node.id)) for node in fleet.nodes]
    running.fleet = fleet.with_nodes(nodes, gateway)
    if network is not None:
        running.fleet = _on_network(running.fleet, network)
    return running


def _gateway(
    fleet: Fleet, pool: PortPool, local_only: bool, keep_ports: bool, network: Network | None = None
) -> tuple[GatewayTable, int]:
    """Where the gateway listens, and its UDP port."""
    host, port = parse_endpoint(fleet.table.gateway.listen)
    http_host, http_port = parse_endpoint(fleet.table.gateway.http)
    if network is not None:
        host = network.listen_host
    elif local_only:
        host = LOOPBACK
    if keep_ports:
        port, http_port = pool.keep(port), pool.keep(http_port)
    else:
        http_host, port, http_port = LOOPBACK, pool.take(), pool.take()
    places = {
        "listen": f"{_bracketed(host)}:{port}",
        "http": f"{_bracketed(http_host)}:{http_port}",
    }
    return fleet.table.gateway.model_copy(update=places), port


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _emulated_nodes(fleet: Fleet, backend: Emulator) -> list[NodeTable]:
    emulated = [node for node in fleet.nodes if node.emulated is not None]
    if not emulated:
        raise VpError(f'{fleet.path} has no node with emulated = "serial" or "udp"')
    for node in emulated:
        if not backend.supports(load_board(node.board), _transport(node)):
            raise VpError(
                f"node {node.id}: {backend.name} does not run board {node.board} "
                f"with transport {node.emulated}"
            )
    return emulated


def _boot(backend: Emulator, config: BoardConfig, pool: PortPool) -> Board:
    """Start a board on a free port; another one if somebody takes it first."""
    for _ in range(_PORT_ATTEMPTS - 1):
        board = backend.create(replace(config, port=pool.take()))
        try:
            board.start()
        except PortTakenError:
            continue
        return board
    board = backend.create(replace(config, port=pool.take()))
    board.start()
    return board


def _lock(workdir: Path) -> IO[bytes]:
    """Make the folder and keep others out of it: boot counters must not be given twice."""
    try:
        workdir.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (workdir / ".lock").open("wb")
    except OSError as error:
        raise VpError(f"cannot write to {workdir}: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise VpError(
            f"boards run already with work directory {workdir}: give another one"
        ) from None
    return lock


def _provision(
    fleet: Fleet, node: NodeTable, gateway_port: int, attachment: Attachment | None
) -> Provision:
    provision = Provision(fleet=fleet.table.id, node=node.id, boot=0, hello_ms=fleet.table.hello_ms)
    if fleet.key is not None:
        provision = replace(
            provision,
            node_key=node_key(fleet.key, fleet.table.id, node.id),
            group_key=group_key(fleet.key, fleet.table.id),
        )
    if node.emulated == "serial":
        return provision
    provision = replace(
        provision,
        mac=bytes([0x52, 0x54, 0x00, fleet.table.id, *node.id.to_bytes(2, "big")]),
        port=GUEST_UDP_PORT,
        gateway_port=gateway_port,
    )
    if attachment is None:
        return replace(
            provision,
            address=IPv4Address(GUEST_ADDRESS),
            netmask=IPv4Address(NETMASK),
            router=IPv4Address(HOST_ADDRESS),
            gateway=IPv4Address(HOST_ADDRESS),
        )
    group, group_port = attachment.group or (IPv4Address(0), 0)
    return replace(
        provision,
        address=attachment.address,
        netmask=attachment.netmask,
        gateway=attachment.gateway,
        group=group,
        group_port=group_port,
    )


def _on_network(fleet: Fleet, network: Network) -> Fleet:
    """The fleet with the network's multicast group, for the gateway to use."""
    group, port = network.group
    table = NetworkTable(gateway=network.listen_host, multicast=f"{group}:{port}")
    return replace(fleet, table=fleet.table.model_copy(update={"network": table}))


def _transport(node: NodeTable) -> Transport:
    return "serial" if node.emulated == "serial" else "udp"


def _with_endpoint(node: NodeTable, board: Board | None) -> NodeTable:
    if board is None:
        return node
    return node.model_copy(
        update={"emulated": None, "serial": board.serial_url, "udp": board.udp_endpoint}
    )
