"""What a way to program boards looks like to vp-flash: one small class each.

A `Backend` finds boards; its `open` gives a `Connection` to one of them. A connection that can
reach single addresses (debug probe, bootloader with read and write) derives from
`PagedConnection`, which has the order that makes an interruption safe: a node whose provisioning
block is missing stays silent (vp/provision.h), so the block's page is erased first and written
last, when the image is there and verified. One that takes everything at once (a UF2 drive)
implements `Connection.write` itself and keeps the same promise: cut anywhere, the board either
does not start the firmware or the firmware finds no block.

    with backend.open(target, board) as connection:
        old = connection.read(board.provision_address, PROVISION_SIZE)
        connection.write(Job(board, segments, provision), progress)
        connection.reset()
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from variant_parallelism.errors import VpError
from variant_parallelism.firmware import BoardInfo
from variant_parallelism.wire import Provision

Stage = Literal["erase", "program", "verify", "provision"]


class FlashError(VpError):
    """Programming failed; the board can be programmed again."""


class NoTargetError(FlashError):
    """No board is connected in this way, or none under the name that was given."""


class AmbiguousTargetError(FlashError):
    """Several boards are connected and none was chosen; the text lists them."""


class WrongBoardError(FlashError):
    """The chip that answers is not the board's. Nothing was written."""


class TooLargeError(FlashError):
    """The image does not fit the board's flash. Nothing was written."""


class AccessError(FlashError):
    """The operating system refuses the device; the text says what to change."""


class BusyError(FlashError):
    """Another program uses the device."""


class DisconnectedError(FlashError):
    """The device went away or stopped answering. A node half-way through stays silent."""


class VerifyError(FlashError):
    """What was read back is not what was written. The node stays silent."""


class StoppedError(FlashError):
    """The user ended the run. A node half-way through stays silent."""


@dataclass(frozen=True, slots=True)
class Target:
    """One board, or what leads to one, as a backend sees it without touching it.

    Attributes:
        backend: the name of the backend that found it.
        id: what chooses it: a probe's unique id, a drive's folder, a serial port.
        description: for people: the probe's or drive's own name.
        board: the board's name where that is sure, such as from a drive's own description.
        port: the node's serial port where the same USB device offers it.
    """

    backend: str
    id: str
    description: str
    board: str | None = None
    port: str | None = None


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes that belong at an address of the flash."""

    address: int
    data: bytes

    @property
    def end(self) -> int:
        """The address behind the last byte."""
        return self.address + len(self.data)


@dataclass(frozen=True, slots=True)
class Job:
    """What to write. `image` rises by address without overlaps; empty: the identity alone."""

    board: BoardInfo
    image: tuple[Segment, ...]
    provision: Provision

    @property
    def block(self) -> Segment:
        """The provisioning block where the firmware looks for it."""
        return Segment(self.board.provision_address, self.provision.pack())


class Progress(Protocol):
    """Told how far a stage is, from any thread. `done` and `total` are in bytes."""

    def __call__(self, stage: Stage, done: int, total: int) -> None: ...


class Connection(ABC):
    """One board that is held open. Every failure is a VpError, a FlashError where one fits."""

    @abstractmethod
    def read(self, address: int, size: int) -> bytes | None:
        """Bytes of the board's memory; None if this way of programming cannot read."""

    @abstractmethod
    def write(self, job: Job, progress: Progress) -> None:
        """Write image and block in the safe order and check what can be checked."""

    @abstractmethod
    def reset(self) -> None:
        """Start the firmware. No effect where the board has started it by itself."""


class PagedConnection(Connection):
    """A connection that erases pages and writes single addresses, in the safe order."""

    def write(self, job: Job, progress: Progress) -> None:
        block = job.block
        progress("erase", 0, 1)
        self.erase(block.address, len(block.data))
        progress("erase", 1, 1)
        if job.image:
            self.program(job.image, progress)
            self.verify(job.image, progress)
        progress("provision", 0, 1)
        self.program([block], _silent)
        self.verify([block], _silent)
        progress("provision", 1, 1)

    @abstractmethod
    def erase(self, address: int, size: int) -> None:
        """Erase the pages that hold these bytes."""

    @abstractmethod
    def program(self, segments: Sequence[Segment], progress: Progress) -> None:
        """Erase what these bytes need, unless it is blank, and write them; no other page changes.

        The pages of boot journal and provisioning block are not among them, the block's own write
        apart.
        """

    def verify(self, segments: Sequence[Segment], progress: Progress) -> None:
        """Read back and compare. VerifyError names the first address that differs."""
        total = sum(len(segment.data) for segment in segments)
        done = 0
        for segment in segments:
            for start in range(0, len(segment.data), _READ_AT_ONCE):
                want = segment.data[start : start + _READ_AT_ONCE]
                address = segment.address + start
                have = self.read(address, len(want))
                if have is None:
                    raise VerifyError("the written bytes cannot be read back")
                if have != want:
                    raise mismatch(address, want, have)
                done += len(want)
                progress("verify", done, total)


_READ_AT_ONCE = 4096


def mismatch(address: int, want: bytes, have: bytes) -> VerifyError:
    """The error for bytes at `address` that are not as written."""
    for index, (wanted, found) in enumerate(zip(want, have, strict=False)):
        if wanted != found:
            return VerifyError(
                f"verification failed at {address + index:#010x}: wrote {wanted:#04x}, "
                f"read {found:#04x}; the node stays silent: flash it again"
            )
    return VerifyError(
        f"verification failed: {len(have)} of {len(want)} bytes read at {address:#010x}"
    )


def _silent(stage: Stage, done: int, total: int) -> None:
    pass


class Backend(Protocol):
    """A way to program boards."""

    @property
    def name(self) -> str:
        """As in board.toml's `programmers`, or the emulator's name."""

    def check(self) -> None:
        """VpError with what to install if a tool or library is missing."""

    def find(self) -> list[Target]:
        """What is connected, sorted by id. Opens nothing that may be somebody else's."""

    def open(self, target: Target, board: BoardInfo) -> AbstractContextManager[Connection]:
        """Connect to a board and check that its chip is `board`'s, as far as it can be told.

        Raises WrongBoardError, AccessError, BusyError, NoTargetError, DisconnectedError.
        """
