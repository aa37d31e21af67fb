"""Robot keywords of the nodes' side: images, identities, and the gateway that hears the nodes.

The boards themselves are driven with Renode's own keywords.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import Any, TypeVar

from elftools.elf.elffile import ELFFile

from variant_parallelism.emulators.ports import LOOPBACK, PortPool
from variant_parallelism.firmware import build_image, load_board
from variant_parallelism.flash.image import load_segments
from variant_parallelism.fleet import Fleet, FleetTable, GatewayTable, NodeTable
from variant_parallelism.gateway import Answer, Gateway, NodeStatus
from variant_parallelism.keys import group_key, node_key
from variant_parallelism.manifest import load_manifest
from variant_parallelism.reference import FamilyReference
from variant_parallelism.training.datasets import load_dataset
from variant_parallelism.wire import Provision

ROOT = Path(__file__).resolve().parents[2]
FAMILY = ROOT / "models" / "digits"
OUT = ROOT / "build" / "hil_tests"
BOARD = "mps2-an386"
KEY = bytes(range(32))
FLEET = 1
# A node that misses three is dead.
HELLO_MS = 500
LOOK_S = 0.05

Result = TypeVar("Result")


class NodeLibrary:
    """One fleet of serial nodes on board mps2-an386, of the digits family."""

    ROBOT_LIBRARY_SCOPE = "TEST"

    def __init__(self) -> None:
        self._pool = PortPool()
        self._variants: dict[int, str] = {}
        self._ports: dict[int, int] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gateway: Gateway | None = None

    def write_node_files(self, node: str, variant: str, folder: str) -> None:
        """Leave `node-N.bin`, the flash's content, and `node-N.provision.bin` in a folder."""
        number = int(node)
        image = build_image(FAMILY / "manifest.json", variant, BOARD, OUT)
        (segment,) = load_segments(image.elf)
        assert segment.address == load_board(BOARD).flash_origin
        (Path(folder) / f"node-{number}.bin").write_bytes(segment.data)
        identity = Provision(
            fleet=FLEET,
            node=number,
            boot=256,
            hello_ms=HELLO_MS,
            node_key=node_key(KEY, FLEET, number),
            group_key=group_key(KEY, FLEET),
        )
        (Path(folder) / f"node-{number}.provision.bin").write_bytes(identity.pack())
        self._variants[number] = variant

    def address_of(self, function: str, variant: str) -> str:
        """Where a function begins in a variant's image."""
        image = build_image(FAMILY / "manifest.json", variant, BOARD, OUT)
        with image.elf.open("rb") as file:
            symbols = ELFFile(file).get_section_by_name(".symtab")
            (symbol,) = symbols.get_symbol_by_name(function)
            # Bit 0 says that it is Thumb code.
            return f"{symbol['st_value'] & ~1:#x}"

    def free_port(self, node: str) -> int:
        """A TCP port for a node's serial line."""
        self._ports[int(node)] = self._pool.take()
        return self._ports[int(node)]

    def start_gateway(self, folder: str) -> None:
        """Start a gateway that is connected to the nodes' serial lines."""
        nodes = [
            NodeTable(id=node, variant=variant, board=BOARD, serial=f"socket://{LOOPBACK}:{port}")
            for (node, variant), port in zip(
                self._variants.items(), self._ports.values(), strict=True
            )
        ]
        table = FleetTable(
            name="robot",
            id=FLEET,
            manifest="manifest.json",
            hello_ms=HELLO_MS,
            gateway=GatewayTable(
                listen=f"{LOOPBACK}:{self._pool.take()}", http=f"{LOOPBACK}:{self._pool.take()}"
            ),
            nodes=nodes,
        )
        manifest = load_manifest(FAMILY / "manifest.json")
        fleet = Fleet(FAMILY / "fleet.toml", table, manifest, FAMILY / "manifest.json", KEY)
        self._reference = FamilyReference(manifest, FAMILY)
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self._gateway = self._run(self._open(fleet, Path(folder)))

    def stop_gateway(self) -> None:
        """Stop the gateway, if there is one."""
        if self._gateway is not None and self._loop is not None:
            self._run(self._gateway.__aexit__(None, None, None))
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._gateway = None

    def node_should_become(self, node: str, state: str, timeout_s: str = "30") -> None:
        """Wait until the gateway has a node in a state: up, dead, refused."""
        self._until(lambda: self._status(node).state == state, f"{node} {state}", node, timeout_s)

    def node_should_come_back(
        self, node: str, boot: str, cause: str, timeout_s: str = "30"
    ) -> None:
        """Wait for a HELLO of a boot after `boot` that gives `cause` as its reason."""

        def is_back() -> bool:
            status = self._status(node)
            hello = status.hello
            return (
                (status.boot or 0) > int(boot)
                and hello is not None
                and hello.reset_cause.name.lower() == cause
            )

        self._until(is_back, f"node {node} back after {cause}", node, timeout_s)

    def boot_of_node(self, node: str) -> int:
        """The boot counter of the newest message."""
        boot = self._status(node).boot
        assert boot is not None, f"node {node} has said nothing"
        return boot

    def image_should_be_answered_by(self, *nodes: str) -> None:
        """Classify an image; exactly these nodes vote, as this machine computes bit for bit."""
        picture = load_dataset("digits").test_images[0]
        assert self._gateway is not None
        answer: Answer = self._run(self._gateway.classify(picture, k=3, deadline_ms=10_000))
        assert [vote.node for vote in answer.votes] == [int(node) for node in nodes], answer
        for vote in answer.votes:
            assert vote.entries == self._reference[vote.variant].entries(picture, 3), vote

    def ask_the_nodes(self) -> None:
        """Classify an image, whoever answers."""
        assert self._gateway is not None
        picture = load_dataset("digits").test_images[0]
        self._run(self._gateway.classify(picture, k=3, deadline_ms=2_000))

    async def _open(self, fleet: Fleet, folder: Path) -> Gateway:
        return await Gateway(fleet, state_dir=folder).__aenter__()

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        assert self._loop is not None, "no gateway: Start Gateway comes first"
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def _status(self, node: str) -> NodeStatus:
        assert self._gateway is not None, "no gateway: Start Gateway comes first"
        return next(status for status in self._gateway.nodes() if status.id == int(node))

    def _until(self, done: Callable[[], bool], what: str, node: str, timeout_s: str) -> None:
        async def wait() -> None:
            while not done():
                await asyncio.sleep(LOOK_S)

        assert self._loop is not None, "no gateway: Start Gateway comes first"
        future = asyncio.run_coroutine_threadsafe(wait(), self._loop)
        try:
            future.result(float(timeout_s))
        except FutureTimeoutError:
            future.cancel()
            status = self._status(node)
            raise AssertionError(
                f"{what}: not within {timeout_s} s, it is {status.state} ({status.reason})"
            ) from None
