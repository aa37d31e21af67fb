"""Flashes one node: image, identity, start, HELLO."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from variant_parallelism.errors import VpError
from variant_parallelism.firmware import BoardInfo
from variant_parallelism.flash.backend import (
    Backend,
    Connection,
    DisconnectedError,
    FlashError,
    Job,
    Progress,
    Segment,
    Stage,
    StoppedError,
    Target,
)
from variant_parallelism.flash.hello import Heard, HelloPost, Listener, await_hello, boot_at_gateway
from variant_parallelism.flash.identity import identity
from variant_parallelism.flash.record import BootRecord
from variant_parallelism.fleet import Fleet, NodeTable
from variant_parallelism.usb_ports import same_port
from variant_parallelism.wire import Provision, WireError
from variant_parallelism.wire.provisioning import PROVISION_SIZE

Say = Callable[[str], None]
"""Told what a node waits for now."""

_UNHEARD = "before its HELLO: the board is programmed, verified and started"

HELLO_PERIODS = 3
START_S = 5.0


@dataclass(frozen=True, slots=True)
class Work:
    """One node, the board that is to become it and what that gets.

    `image` is empty where only the identity is written.
    """

    node: NodeTable
    board: BoardInfo
    backend: Backend
    target: Target
    image: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one node. `heard` is None if it failed or was not waited for.

    An emulated node has neither target nor boot counter: nothing was written into it.
    """

    node: NodeTable
    target: Target | None
    boot: int | None
    heard: Heard | None
    seconds: float
    error: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For `vp-flash --json`."""
        return {
            "node": self.node.id,
            "variant": self.node.variant,
            "board": self.node.board,
            "backend": None if self.target is None else self.target.backend,
            "target": None if self.target is None else self.target.id,
            "boot": self.heard.boot if self.heard else self.boot,
            "firmware": None if self.heard is None else self.heard.firmware,
            "seconds": round(self.seconds, 2),
            "error": self.error,
        }

    @property
    def text(self) -> str:
        """One line for people."""
        if self.error is not None:
            return f"node {self.node.id}: {self.error}"
        what = f"variant {self.node.variant} on {self.node.board}"
        if self.target is None and self.heard is None:
            return f"node {self.node.id} is switched on: {what}, not waited for"
        if self.heard is None:
            return f"node {self.node.id} is programmed: {what}, boot {self.boot}, not waited for"
        return (
            f"node {self.node.id} is up: {what}, firmware {self.heard.firmware}, "
            f"boot {self.heard.boot}, in {self.seconds:.1f} s"
        )


class Flasher:
    """Flashes the nodes of one fleet, from any number of threads."""

    def __init__(
        self,
        fleet: Fleet,
        post: HelloPost,
        *,
        state_dir: Path | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """`timeout_s` is how long a HELLO is waited for; 0: not at all."""
        self._stopped = threading.Event()
        self._fleet = fleet
        self._post = post
        self._record = BootRecord(fleet, state_dir)
        heartbeat_s = fleet.table.hello_ms / 1000
        self._timeout_s = START_S + HELLO_PERIODS * heartbeat_s if timeout_s is None else timeout_s

    @property
    def stopped(self) -> bool:
        return self._stopped.is_set()

    def stop(self) -> None:
        """End all that goes on, and what begins later, with StoppedError; from any thread.

        A board may take some seconds to come to a point where it can be left.
        """
        self._stopped.set()

    def flash(self, work: Work, progress: Progress, say: Say) -> Outcome:
        """Program, verify, provision, start, wait. VpError if anything fails."""
        self._go_on("before it was begun")
        start = time.monotonic()
        identity(self._fleet, work.node, 0)
        shared = self._is_own_line(work)
        if shared and self._post.client is not None:
            raise FlashError(
                f"the running gateway holds {work.target.id}: stop it while node "
                f"{work.node.id} is flashed over that line"
            )
        with ExitStack() as stack:
            listener = None
            if self._timeout_s and not shared:
                # Before anything is written: a port that cannot be had must not leave half a job.
                listener = self._listen(work.node, stack)
            with work.backend.open(work.target, work.board) as connection:
                boot = self._next_boot(work, connection)
                provision = identity(self._fleet, work.node, boot)
                self._go_on("before anything was written")
                connection.write(Job(work.board, work.image, provision), self._stoppable(progress))
                if listener is not None:
                    listener.clear()
                connection.reset()
            if self._timeout_s and shared:
                listener = self._listen(work.node, stack)
            heard = None
            if listener is not None:
                self._go_on(_UNHEARD)
                say(f"started, waiting for its HELLO on {listener.place}")
                heard = await_hello(
                    listener, boot, self._timeout_s, go_on=partial(self._go_on, _UNHEARD)
                )
                self._check(work.node, heard)
        return Outcome(work.node, work.target, boot, heard, time.monotonic() - start)

    def try_flash(self, work: Work, progress: Progress, say: Say) -> Outcome:
        """The same with failures as part of the outcome."""
        start = time.monotonic()
        try:
            return self.flash(work, progress, say)
        except VpError as error:
            seconds = time.monotonic() - start
            return Outcome(work.node, work.target, None, None, seconds, str(error))

    def _go_on(self, so_far: str) -> None:
        if self.stopped:
            raise StoppedError(f"interrupted {so_far}")

    def _stoppable(self, progress: Progress) -> Progress:
        """Does not stop before the identity is erased, nor once it is written: it is half a node
        in between, and silent."""

        def report(stage: Stage, done: int, total: int) -> None:
            if (stage, done) != ("erase", 0) and (stage, done) != ("provision", total):
                self._go_on("half-way: it stays silent until it is flashed again")
            if not self.stopped:
                progress(stage, done, total)

        return report

    def _listen(self, node: NodeTable, stack: ExitStack) -> Listener:
        listener = self._post.listen(node)
        stack.callback(listener.close)
        return listener

    def _is_own_line(self, work: Work) -> bool:
        """Whether the board is programmed over the line that its HELLO comes on."""
        serial = work.node.serial
        if work.backend.name != "stm32-uart" or serial is None:
            return False
        return same_port(serial, work.target.id)

    def _next_boot(self, work: Work, connection: Connection) -> int:
        """Above every counter that this node, or one that its board was before, has used."""
        used = 0
        try:
            old = connection.read(work.board.provision_address, PROVISION_SIZE)
            if old is not None:
                used = Provision.unpack(old).boot
        except WireError:
            pass  # No block, or half of one.
        except DisconnectedError:
            raise
        except FlashError:
            pass  # Memory that cannot be read before a firmware has set it up, such as QSPI flash.
        if self._post.client is not None:
            used = max(used, boot_at_gateway(self._post.client, work.node.id))
        return self._record.next(work.node.id, used)

    def _check(self, node: NodeTable, heard: Heard) -> None:
        """Whether what answers is what was programmed."""
        variant = self._fleet.variant_of(node)
        if heard.model_hash != variant.hash:
            raise FlashError(
                f"the board answers as node {node.id}, but runs model {heard.model_hash}, "
                f"not {variant.name} ({variant.hash})"
            )
        if heard.board != node.board:
            raise FlashError(
                f"the board answers as node {node.id}, but calls itself {heard.board}, "
                f"not {node.board}"
            )


def check_link(node: NodeTable, board: BoardInfo) -> None:
    """VpError if the fleet file reaches the node in a way that the board does not have."""
    if node.udp is not None and "udp" not in board.transports:
        raise VpError(f"node {node.id}: board {board.name} has no Ethernet: give it serial")
    if node.serial is not None and "://" not in node.serial and node.baud != board.serial_baud:
        raise VpError(
            f"node {node.id}: baud = {node.baud}, but the firmware of {board.name} "
            f"speaks {board.serial_baud}: change it in the fleet file"
        )
