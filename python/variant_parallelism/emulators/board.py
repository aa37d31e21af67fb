"""What a test, the demo or `vp emulate` can do with a board, whichever emulator runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from variant_parallelism.emulators.network.attachment import Attachment
from variant_parallelism.emulators.ports import LOOPBACK
from variant_parallelism.errors import VpError
from variant_parallelism.firmware import BoardInfo
from variant_parallelism.text_files import write_whole
from variant_parallelism.wire import Provision

Transport = Literal["serial", "udp"]


class PortTakenError(VpError):
    """The port that was chosen for a board belongs to somebody else by now."""


class Board(Protocol):
    """One emulated board. Calls may come from any thread, one at a time.

    Every failure of the emulator itself is a VpError that names the node.
    """

    @property
    def name(self) -> str:
        """`node-3`, for messages and file names."""

    @property
    def node(self) -> int:
        """The node id."""

    @property
    def serial_url(self) -> str | None:
        """pyserial URL of the UART, or None for a node on UDP."""

    @property
    def udp_endpoint(self) -> str | None:
        """`host:port` where the node receives datagrams, or None for a node on a serial line."""

    @property
    def running(self) -> bool:
        """True from start() until stop(), kill() or the emulator's own end; also while paused."""

    def start(self) -> None:
        """Power on: returns once the emulator runs, before the firmware says anything."""

    def stop(self) -> None:
        """Power off in an orderly way. No effect on a board that is off."""

    def kill(self) -> None:
        """End the emulator at once, as a board that loses its supply. No effect if off."""

    def pause(self) -> None:
        """Freeze the processor; the lines stay open and queue what arrives."""

    def resume(self) -> None:
        """Go on after pause()."""

    def reset(self) -> None:
        """Pull the reset line: memory that start-up does not clear survives."""

    def write_memory(self, address: int, data: bytes) -> None:
        """Change the memory of the running board behind the firmware's back."""


@dataclass(frozen=True)
class BoardConfig:
    """What an emulator needs to run one node.

    `provision` is the identity but for its boot counter; `next_boot` gives that at each start.
    `port` is the TCP port of the UART or the UDP port that is forwarded to the node. A node with an
    `attachment` is on that network instead, and `port` is unused.
    """

    node: int
    board: BoardInfo
    image: Path
    transport: Transport
    port: int
    provision: Provision
    next_boot: Callable[[], int]
    workdir: Path
    attachment: Attachment | None = None

    @property
    def name(self) -> str:
        return f"node-{self.node}"


class ConfiguredBoard:
    """What a `Board` knows from its configuration alone, and the file of its provisioning block."""

    def __init__(self, config: BoardConfig) -> None:
        self._config = config
        self._block = config.workdir / f"{config.name}.provision.bin"

    @property
    def name(self) -> str:
        return self._config.name

    @property
    def node(self) -> int:
        return self._config.node

    @property
    def serial_url(self) -> str | None:
        if self._config.transport != "serial":
            return None
        return f"socket://{LOOPBACK}:{self._config.port}"

    @property
    def udp_endpoint(self) -> str | None:
        config = self._config
        if config.transport != "udp":
            return None
        return config.attachment.endpoint if config.attachment else f"{LOOPBACK}:{config.port}"

    def _write_block(self) -> None:
        """Write the identity with the next boot counter. It holds keys: mode 600."""
        provision = replace(self._config.provision, boot=self._config.next_boot())
        write_whole(self._block, provision.pack(), 0o600)


class Emulator(Protocol):
    """A program that runs boards."""

    @property
    def name(self) -> str: ...

    def check(self) -> None:
        """VpError with what to install if the emulator is missing."""

    def supports(self, board: BoardInfo, transport: Transport) -> bool:
        """Whether it can run that board, reached that way."""

    def create(self, config: BoardConfig) -> Board:
        """A board that is still off."""
