"""A fleet of emulated boards behind a gateway, for one test.

The models are the committed digits family. `manifest` is either its own or the same models with
room for larger inputs, so that images of many chunks can be sent.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from variant_parallelism.emulators import EMULATORS, Board, EmulatedFleet, launch_fleet
from variant_parallelism.emulators.faults import Direction, FaultSchedule, SerialLink, UdpLink
from variant_parallelism.emulators.network.attachment import Network
from variant_parallelism.emulators.network.lan import SwitchedNetwork
from variant_parallelism.emulators.ports import PortPool
from variant_parallelism.firmware import load_board
from variant_parallelism.fleet import Fleet, FleetTable, NodeTable, parse_endpoint
from variant_parallelism.gateway import Answer, Gateway, NodeStatus
from variant_parallelism.keys import node_key
from variant_parallelism.manifest import Manifest, load_manifest, save_manifest
from variant_parallelism.reference import FamilyReference
from variant_parallelism.wire import Body, Deframer, Header, Hello, WireError, decode

ROOT = Path(__file__).resolve().parent.parent
DIGITS = ROOT / "models" / "digits"
BOARD = "mps2-an386"
# What UDP nodes are: Renode does not model the Ethernet controller of the MPS2.
ETHERNET_BOARD = {"qemu": BOARD, "renode": "stm32f4-disco"}
# 27,648 bytes, as much as 96 x 96 pixels in colour: 54 chunks.
LARGE = (144, 192)
KEY = bytes(range(32))
# A node is dead after three of them; Renode takes more of the host than QEMU.
HELLO_MS = {"qemu": 200, "renode": 600}
PATIENCE_S = 40.0

Link = SerialLink | UdpLink
Schedules = Mapping[Direction, FaultSchedule]


@dataclass
class Running:
    """Boards that are up and the gateway that sees them."""

    fleet: Fleet
    gateway: Gateway
    boards: dict[int, Board]
    reference: FamilyReference
    links: dict[int, Link] = field(default_factory=dict)

    async def classify(self, image: NDArray[np.uint8], k: int = 2, **options: float) -> Answer:
        """Ask, and check every vote bit for bit against this machine."""
        answer = await self.gateway.classify(image, k=k, **options)
        for vote in answer.votes:
            assert vote.entries == self.reference[vote.variant].entries(image, k), vote
        return answer

    def status(self, node: int) -> NodeStatus:
        return next(status for status in self.gateway.nodes() if status.id == node)

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait for something that must come; what happened instead is in the message."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    await asyncio.sleep(0.005)
        except TimeoutError:
            states = [(node.id, node.state, node.reason) for node in self.gateway.nodes()]
            raise AssertionError(f"{what} did not happen within {PATIENCE_S} s: {states}") from None

    async def until_state(self, node: int, state: str) -> NodeStatus:
        await self.until(lambda: self.status(node).state == state, f"node {node} {state}")
        return self.status(node)

    async def until_under_way(self, node: int, messages: int) -> None:
        """Wait for so many more messages on a link, and lose no turn of the loop that carries them:
        in 5 ms a whole image can pass."""
        link = self.links[node]
        enough = len(link.log) + messages
        async with asyncio.timeout(PATIENCE_S):
            while len(link.log) < enough:
                await asyncio.sleep(0)

    def heard(self, node: int) -> list[tuple[Header, Body]]:
        """The messages that a linked node has sent, in order, whether or not they arrived.

        What is not whole is left out: a serial line may be opened, or its node reset, in the middle
        of a frame.
        """
        link = self.links[node]
        fleet = self.fleet
        key = None if fleet.key is None else node_key(fleet.key, fleet.table.id, node)
        heard = []
        for way, data in link.log:
            if way is Direction.TO_GATEWAY:
                message = unframed(data) if isinstance(link, SerialLink) else data
                with suppress(WireError):
                    heard.append(decode(message, key, len(fleet.manifest.classes)))
        return heard

    def boots(self, node: int) -> list[int]:
        """The boot counters of the messages that a linked node has sent, in order."""
        return [header.boot for header, _ in self.heard(node)]

    def hello(self, node: int) -> Hello:
        """The newest HELLO of a node that has said one."""
        hello = self.status(node).hello
        assert hello is not None
        return hello


def unframed(data: bytes) -> bytes:
    """The message in one COBS frame that ends with its delimiter; empty if it is damaged."""
    frames = Deframer().push(data)
    return frames[0].message if frames else b""


class Bench:
    """Makes fleets out of built images.

    `images` are those of serial nodes, by variant; `ethernet_images` those of UDP nodes if they are
    not the same.
    """

    def __init__(
        self, manifest: Manifest, folder: Path, images: Mapping[str, Path], workdir: Path,
        emulator: str, ethernet_images: Mapping[str, Path] | None = None,
    ) -> None:  # fmt: skip
        self.manifest = manifest
        self.folder = folder
        self.images = images
        self.emulator = emulator
        self.ports = PortPool()
        self._ethernet_images = images if ethernet_images is None else ethernet_images
        self._reference = FamilyReference(manifest, folder)
        self._workdir = workdir
        self._fleets = 0

    def board(self, transport: str) -> str:
        """The board of nodes that are reached that way."""
        return BOARD if transport == "serial" else ETHERNET_BOARD[self.emulator]

    def image(self, variant: str, transport: str) -> Path:
        """What nodes that are reached that way run."""
        return (self.images if transport == "serial" else self._ethernet_images)[variant]

    def skip_without_watchdog(self, transport: str) -> None:
        """Skip the test where the emulator has no watchdog for that board."""
        if self.emulator == "renode":
            pytest.skip(f"renode: the board.repl of {self.board(transport)} has no watchdog")

    @property
    def variants(self) -> list[str]:
        return [variant.name for variant in self.manifest.variants]

    def fleet(
        self,
        nodes: Sequence[tuple[str, str]],
        *,
        fleet_id: int = 1,
        board: str | None = None,
        key: bytes | None = KEY,
        deadline_ms: int = 30_000,
        hello_ms: int | None = None,
    ) -> Fleet:
        """A fleet of (variant, "serial" or "udp") nodes with ids from 1; all on `board` if given.

        The test is skipped where the emulator does not run such a board, reached that way.
        """
        for transport in {transport for _, transport in nodes}:
            name = board or self.board(transport)
            way = "serial" if transport == "serial" else "udp"
            if not EMULATORS[self.emulator].supports(load_board(name), way):
                pytest.skip(f"{self.emulator} does not run board {name} with transport {way}")
        tables = [
            NodeTable.model_validate(
                dict(
                    id=number,
                    variant=variant,
                    board=board or self.board(transport),
                    emulated=transport,
                )
            )
            for number, (variant, transport) in enumerate(nodes, start=1)
        ]
        table = FleetTable(
            name=f"hil-{fleet_id}",
            id=fleet_id,
            manifest="manifest.json",
            deadline_ms=deadline_ms,
            hello_ms=HELLO_MS[self.emulator] if hello_ms is None else hello_ms,
            nodes=tables,
        )
        manifest_path = self.folder / "manifest.json"
        return Fleet(self.folder / "fleet.toml", table, self.manifest, manifest_path, key)

    @asynccontextmanager
    async def launch(
        self,
        fleet: Fleet,
        workdir: Path,
        *,
        images: Mapping[int, Path] | None = None,
        reply_ports: Mapping[int, int] | None = None,
        network: Network | None = None,
    ) -> AsyncIterator[EmulatedFleet]:
        """Boot a fleet, without a gateway; `launch_fleet` describes the options."""
        elf = {node.id: self.image(node.variant, node.emulated or "") for node in fleet.nodes}
        elf |= images or {}
        udp = [node.id for node in fleet.nodes if node.emulated == "udp"]
        async with AsyncExitStack() as stack:
            if network is None and udp and self.emulator == "renode":
                # Renode has no user network, as QEMU has one for each node.
                network = await stack.enter_async_context(SwitchedNetwork(self.ports, None, udp))
            emulated = launch_fleet(
                fleet, elf, workdir, emulator=self.emulator, ports=self.ports,
                reply_ports=reply_ports, network=network,
            )  # fmt: skip
            yield stack.enter_context(emulated)

    @asynccontextmanager
    async def run(
        self,
        fleet: Fleet,
        *,
        linked: bool | Sequence[int] = False,
        schedules: Callable[[int], Schedules] | None = None,
        images: Mapping[int, Path] | None = None,
        wait_for: int | None = None,
        network: Network | None = None,
    ) -> AsyncIterator[Running]:
        """Boot a fleet and wait until its nodes are up.

        With `linked` (True: all nodes) messages pass through a proxy each; `schedules` gives its
        faults by node id. `images` replaces the images of some nodes. `wait_for` is the number of
        nodes to wait for, if not all. UDP nodes are plugged into `network`.
        """
        self._fleets += 1
        workdir = self._workdir / f"fleet-{self._fleets}"
        through = [node.id for node in fleet.nodes] if linked is True else list(linked or [])
        replies = {node: self.ports.take() for node in through}
        async with AsyncExitStack() as stack:
            emulated = await stack.enter_async_context(
                self.launch(fleet, workdir, images=images, reply_ports=replies, network=network)
            )
            concrete = emulated.fleet
            links: dict[int, Link] = {}
            for node in through:
                faults = schedules(node) if schedules else None
                link = self._link(concrete, emulated.boards[node], replies[node], faults)
                links[node] = await stack.enter_async_context(link)
            nodes = [_through(node, links.get(node.id)) for node in concrete.nodes]
            concrete = concrete.with_nodes(nodes, concrete.table.gateway)
            gateway = await stack.enter_async_context(
                Gateway(concrete, state_dir=workdir / "gateway")
            )
            running = Running(concrete, gateway, emulated.boards, self._reference, links)
            wanted = len(nodes) if wait_for is None else wait_for
            alive = await gateway.wait_for_nodes(wanted, PATIENCE_S)
            assert alive >= wanted, [(node.id, node.reason) for node in gateway.nodes()]
            yield running

    def _link(self, fleet: Fleet, board: Board, reply_port: int, faults: Schedules | None) -> Link:
        if board.serial_url is not None:
            port = parse_endpoint(board.serial_url.removeprefix("socket://"))[1]
            return SerialLink(port, self.ports.take(), faults)
        assert board.udp_endpoint is not None
        gateway = parse_endpoint(fleet.table.gateway.listen)
        node = parse_endpoint(board.udp_endpoint)
        return UdpLink(node, gateway, self.ports.take(), reply_port, faults)


def _through(node: NodeTable, link: Link | None) -> NodeTable:
    if isinstance(link, SerialLink):
        return node.model_copy(update={"serial": link.url})
    if isinstance(link, UdpLink):
        return node.model_copy(update={"udp": link.endpoint})
    return node


def code_address(image: Path, function: str) -> int:
    """Where a function of an image begins."""
    table = subprocess.run(
        ["arm-none-eabi-nm", image], check=True, capture_output=True, text=True
    ).stdout
    (line,) = [line for line in table.splitlines() if line.endswith(f" {function}")]
    return int(line.split()[0], 16) & ~1


def code_at(image: Path, address: int, size: int) -> bytes:
    """What an image holds there."""
    span = [f"--start-address={address}", f"--stop-address={address + size}"]
    dump = subprocess.run(
        ["arm-none-eabi-objdump", "-s", "-j", ".text", *span, image],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    # " 8012706 2de9f843 8046                        -..C.F"
    lines = [line[1:].partition("  ")[0] for line in dump.splitlines() if line.startswith(" ")]
    code = bytes.fromhex("".join(line.partition(" ")[2] for line in lines))
    assert len(code) == size
    return code


def roomy(manifest: Manifest, height: int, width: int) -> Manifest:
    """The same models in images that receive inputs up to height x width."""
    size = manifest.input.model_copy(update={"height": height, "width": width})
    return manifest.model_copy(update={"input": size, "name": f"{manifest.name}-{height}x{width}"})


def large_models() -> Path:
    """The folder of a manifest of the same models with room for `LARGE` inputs.

    Always the same place: images are built once for a manifest's path.
    """
    folder = ROOT / "build" / "hil_tests" / "large"
    folder.mkdir(parents=True, exist_ok=True)
    manifest = load_manifest(DIGITS / "manifest.json")
    for variant in manifest.variants:
        shutil.copy(DIGITS / variant.file, folder / variant.file)
    save_manifest(roomy(manifest, *LARGE), folder / "manifest.json")
    return folder


def noise(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    """A random grey image (H, W, 1)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 1), dtype=np.uint8)
