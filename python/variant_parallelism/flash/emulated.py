"""A node of a fleet on an emulated board instead of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from variant_parallelism.emulators import EMULATORS, Board, launch_fleet
from variant_parallelism.errors import VpError
from variant_parallelism.flash.flasher import HELLO_PERIODS, START_S, Outcome
from variant_parallelism.flash.hello import HelloPost, await_hello
from variant_parallelism.fleet import Fleet, NodeTable

_LOOK_S = 0.2


def check(emulator: str) -> None:
    """VpError if there is no emulator of that name, or it is not installed."""
    if emulator not in EMULATORS:
        raise VpError(f"no emulator {emulator!r}: there are {', '.join(EMULATORS)}")
    EMULATORS[emulator].check()


@contextmanager
def booted(
    fleet: Fleet, node: NodeTable, elf: Path, emulator: str, workdir: Path, timeout_s: float | None
) -> Iterator[tuple[Outcome, Board, NodeTable]]:
    """Boot `node` with the identity that it has in the fleet, and wait for its HELLO.

    Gives the board, which is powered off at the end, and the node with the endpoint that it has.
    `workdir` keeps its boot counter. VpError if it does not boot or stays silent.
    """
    start = time.monotonic()
    transport = node.emulated or ("serial" if node.serial is not None else "udp")
    emulated = node.model_copy(update={"emulated": transport, "serial": None, "udp": None})
    alone = fleet.with_nodes([emulated], fleet.table.gateway)
    if timeout_s is None:
        timeout_s = START_S + HELLO_PERIODS * fleet.table.hello_ms / 1000
    with launch_fleet(alone, {node.id: elf}, workdir, emulator=emulator) as running:
        (reached,) = running.fleet.nodes
        heard = None
        if timeout_s:
            with HelloPost(running.fleet) as post:
                listener = post.listen(reached)
                try:
                    heard = await_hello(
                        listener,
                        0,
                        timeout_s,
                        done=f"node {node.id} runs in {emulator}",
                        advice="wait longer with --timeout",
                    )
                finally:
                    listener.close()
        seconds = time.monotonic() - start
        yield Outcome(node, None, None, heard, seconds), running.boards[node.id], reached


def keep(board: Board) -> None:
    """Wait until Ctrl-C, or until the board ends by itself, which is a VpError."""
    while board.running:
        time.sleep(_LOOK_S)
    raise VpError(f"{board.name} has ended by itself")
