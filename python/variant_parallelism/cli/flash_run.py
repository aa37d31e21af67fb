"""What `vp flash` does with its options."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rich import box
from rich.console import Console
from rich.table import Table

from variant_parallelism.errors import VpError
from variant_parallelism.firmware import build_images, load_board
from variant_parallelism.firmware.build import build_tree
from variant_parallelism.flash import listing
from variant_parallelism.flash.backend import Job
from variant_parallelism.flash.choose import Wish, ask_on_terminal, choose, may_ask
from variant_parallelism.flash.flasher import Flasher, Outcome, Work, check_link
from variant_parallelism.flash.hello import HelloPost
from variant_parallelism.flash.identity import identity
from variant_parallelism.flash.image import read_image
from variant_parallelism.flash.progress import Show, shown
from variant_parallelism.flash.record import BootRecord
from variant_parallelism.flash.uf2 import safe_file
from variant_parallelism.gateway.state import default_state_dir
from variant_parallelism.text_files import write_whole

if TYPE_CHECKING:
    from variant_parallelism.flash.backend import Segment
    from variant_parallelism.fleet import Fleet, NodeTable

_AT_ONCE = 16
_CTRL_C = 130
_GRACE_S = 5.0
"""How long nodes may take to come to a point where they can be left."""
_ABANDONED = "interrupted half-way: if it is silent, flash it again"


@dataclass(frozen=True)
class Source:
    """Where images come from: built in `out`, taken as they are there, or `image`."""

    out: Path
    image: Path | None
    no_build: bool
    provision_only: bool

    def elf(self, fleet: Fleet, node: NodeTable) -> Path:
        """The node's image; built if it must be."""
        if self.image is not None:
            return self.image
        if self.no_build:
            tree = build_tree(self.out, fleet.manifest_path, fleet.manifest.name, node.board)
            elf = tree / "build" / "images" / f"{node.variant}.elf"
            if not elf.is_file():
                raise VpError(f"{elf} was not built yet: leave --no-build away")
            return elf
        # In a pipe its progress would be an empty line.
        console = Console(stderr=True) if sys.stderr.isatty() else None
        (built,) = build_images(fleet.manifest_path, [node.variant], node.board, self.out, console)
        if built.warning is not None:
            print(f"warning: {built.warning}", file=sys.stderr)
        return built.elf

    def segments(self, fleet: Fleet, node: NodeTable) -> tuple[Segment, ...]:
        """What the flash gets; nothing with --provision-only."""
        if self.provision_only:
            return ()
        elf = self.elf(fleet, node)
        return read_image(elf, load_board(node.board), fleet.variant_of(node))


def show_seen(fleet: Fleet | None, as_json: bool) -> None:
    """List what is connected and say what to type."""
    seen = listing.look()
    if as_json:
        print(json.dumps(seen.as_json()))
        return
    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(listing.table(seen))
    for note in seen.notes:
        console.print(f"note: {note}")
    nodes = [] if fleet is None else fleet.nodes
    if fleet is not None:
        console.print()
        console.print(_nodes_table(fleet))
    hint = listing.hint(seen)
    if hint is not None:
        console.print(f"\n{hint}")
    console.print("\nNext:")
    for step in listing.next_steps(seen, None if fleet is None else str(fleet.path), nodes):
        console.print(f"  {step}")


def chosen(fleet: Fleet, wanted: int | None, board: str | None) -> list[NodeTable]:
    """The node with id `wanted`, or all that are not emulated; VpError if there is none."""
    if wanted is None:
        nodes = [node for node in fleet.nodes if node.emulated is None]
        if not nodes:
            raise VpError(f"every node of {fleet.path} is emulated: vp emulate boots them")
    else:
        node = find_node(fleet, wanted)
        if node.emulated is not None:
            raise VpError(
                f"node {node.id} is emulated: give it serial or udp in {fleet.path}, or boot it "
                f"with --emulator qemu"
            )
        nodes = [node]
    for node in nodes:
        check_board(fleet, node, board)
    return nodes


def find_node(fleet: Fleet, wanted: int) -> NodeTable:
    for node in fleet.nodes:
        if node.id == wanted:
            return node
    known = ", ".join(str(node.id) for node in fleet.nodes)
    raise VpError(f"{fleet.path} has no node {wanted}: it has {known}")


def check_board(fleet: Fleet, node: NodeTable, board: str | None) -> None:
    """VpError if --board says something else than the fleet file."""
    if board is not None and board != node.board:
        load_board(board)
        raise VpError(f"node {node.id} is a {node.board} in {fleet.path}, not a {board}")


def flash(
    fleet: Fleet,
    nodes: list[NodeTable],
    wish: Wish,
    source: Source,
    timeout_s: float | None,
    state_dir: Path | None,
    as_json: bool,
) -> None:
    """Flash `nodes`; exit status 1 if any of them fails."""
    ask = ask_on_terminal if len(nodes) == 1 and may_ask() and not as_json else None
    taken: dict[tuple[str, str], int] = {}

    def prepare(node: NodeTable) -> Work:
        board = load_board(node.board)
        check_link(node, board)
        backend, target = choose(board, node, wish, ask)
        other = taken.setdefault((target.backend, target.id), node.id)
        if other != node.id:
            raise VpError(
                f"{target.id} is node {other} already: write probe into both nodes of the "
                "fleet file"
            )
        return Work(node, board, backend, target, source.segments(fleet, node))

    prepared = {node.id: _attempt(partial(prepare, node)) for node in nodes}
    try:
        with (
            _interruptible(),
            HelloPost.at_gateway(fleet) as post,
            shown(nodes, quiet=as_json) as show,
        ):
            flasher = Flasher(fleet, post, state_dir=state_dir, timeout_s=timeout_s)
            outcomes = _run(flasher, nodes, prepared, show)
    except KeyboardInterrupt:
        _interrupted(abandoned=False)
    if as_json:
        print(json.dumps([outcome.as_json() for outcome in outcomes]))
    elif len(outcomes) > 1:
        Console(highlight=False, markup=False).print(_outcome_table(outcomes))
    if flasher.stopped:
        _interrupted(any(outcome.error == _ABANDONED for outcome in outcomes))
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if len(outcomes) == 1 and not as_json:
        if failed:
            raise VpError(failed[0].text)
        print(outcomes[0].text)
    if failed:
        sys.exit(1)


def _attempt(prepare: partial[Work]) -> Work | VpError:
    try:
        return prepare()
    except VpError as error:
        return error


def _run(
    flasher: Flasher, nodes: list[NodeTable], prepared: dict[int, Work | VpError], show: Show
) -> list[Outcome]:
    """All outcomes; after Ctrl-C those of nodes that did not end in time say so."""

    def one(node: NodeTable) -> Outcome:
        ready = prepared[node.id]
        if isinstance(ready, VpError):
            outcome = _unflashed(node, ready, str(ready))
        else:
            outcome = flasher.try_flash(
                ready, show.progress(node), lambda text: show.say(node, text)
            )
        if len(nodes) > 1 and not flasher.stopped:
            show.end(node, outcome.text, outcome.error is None)
        return outcome

    if len(nodes) == 1:
        return [one(nodes[0])]
    pool = ThreadPoolExecutor(min(len(nodes), _AT_ONCE), thread_name_prefix="vp-flash")
    flashed: dict[int, Future[Outcome]] = {}
    try:
        for node in nodes:
            flashed[node.id] = pool.submit(one, node)
        wait(flashed.values())
    except KeyboardInterrupt:
        flasher.stop()
        with suppress(KeyboardInterrupt):
            wait(flashed.values(), timeout=_GRACE_S)
    finally:
        pool.shutdown(wait=False)
    ended = {number: future.result() for number, future in flashed.items() if future.done()}
    return [ended.get(node.id) or _unflashed(node, prepared[node.id], _ABANDONED) for node in nodes]


def _unflashed(node: NodeTable, ready: Work | VpError, why: str) -> Outcome:
    target = ready.target if isinstance(ready, Work) else None
    return Outcome(node, target, None, None, 0.0, why)


def _interrupted(abandoned: bool) -> NoReturn:
    """End with the status of Ctrl-C, whatever a thread still does if a node was `abandoned`."""
    print("interrupted: a node that was not done stays silent; flash it again", file=sys.stderr)
    if abandoned:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(_CTRL_C)
    sys.exit(_CTRL_C)


def write_uf2(
    fleet: Fleet,
    wanted: int,
    board_name: str | None,
    source: Source,
    out: Path,
    state_dir: Path | None,
) -> None:
    """Write the file that makes a board in its UF2 bootloader one node; it holds keys."""
    (node,) = chosen(fleet, wanted, board_name)
    board = load_board(node.board)
    check_link(node, board)
    image = source.segments(fleet, node)
    boot = BootRecord(fleet, state_dir).next(node.id, 0)
    content = bytes(safe_file(Job(board, image, identity(fleet, node, boot))))
    write_whole(out, content, 0o600)
    print(f"{out}: {len(content):,} bytes for node {node.id}, variant {node.variant}, boot {boot}")
    print("it holds the node's keys: remove it once it is copied")


def emulate(
    fleet: Fleet,
    wanted: int,
    board: str | None,
    emulator: str,
    source: Source,
    timeout_s: float | None,
    once: bool,
    state_dir: Path | None,
    as_json: bool,
) -> None:
    """Boot one node in an emulator and keep it until Ctrl-C, or with `once` until its HELLO."""
    from variant_parallelism.flash import emulated

    node = find_node(fleet, wanted)
    check_board(fleet, node, board)
    emulated.check(emulator)
    if source.provision_only:
        raise VpError("--provision-only keeps a board's image; an emulated board has none to keep")
    elf = source.elf(fleet, node)
    read_image(elf, load_board(node.board), fleet.variant_of(node))
    workdir = (state_dir or default_state_dir()) / "emulated" / f"{fleet.table.name}-{node.id}"
    try:
        with (
            _interruptible(),
            emulated.booted(fleet, node, elf, emulator, workdir, timeout_s) as (outcome, on, at),
        ):
            print(json.dumps([outcome.as_json()]) if as_json else outcome.text, flush=True)
            if once:
                return
            print(f"It is {emulator}'s, at {at.port}; Ctrl-C switches it off.", file=sys.stderr)
            emulated.keep(on)
    except KeyboardInterrupt:
        print("\nthe board is off", file=sys.stderr)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM end what runs here, also as a shell's background job."""
    old = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _nodes_table(fleet: Fleet) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for head in ("node", "variant", "board", "reached at", "probe"):
        table.add_column(head, overflow="fold")
    for node in fleet.nodes:
        where = node.port or f"emulated, {node.emulated}"
        table.add_row(str(node.id), node.variant, node.board, where, node.probe or "")
    return table


def _outcome_table(outcomes: list[Outcome]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for head in ("node", "variant", "board", "by", "firmware", "boot", "seconds", ""):
        table.add_column(head, overflow="fold")
    for outcome in outcomes:
        heard = outcome.heard
        boot = outcome.boot if heard is None else heard.boot
        table.add_row(
            str(outcome.node.id),
            outcome.node.variant,
            outcome.node.board,
            "" if outcome.target is None else f"{outcome.target.backend} {outcome.target.id}",
            "" if heard is None else heard.firmware,
            "" if boot is None else str(boot),
            f"{outcome.seconds:.1f}",
            outcome.error or ("up" if heard is not None else "programmed"),
        )
    return table
