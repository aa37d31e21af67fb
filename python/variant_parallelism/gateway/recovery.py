"""Nodes that cannot be talked to: those that never answer, and those that take us for a replay.

A node drops whatever is not newer than the newest boot counter that it heard of its gateway. A
gateway that lost its state file and its clock may count below that. It looks healthy then, because
heartbeats keep coming, but no node answers it. What gives it away is the node's own count of
rejected messages, in its HELLO: if that rises while nothing that we send is answered, our boot
counter jumps, further each time, until the nodes listen. It jumps as well if a node calls our
newest request superseded: an earlier run had the same boot counter. One jump cures that, so a node
has no more than one that way; and a run has no more than `JUMPS`, whoever asks for them.
"""

from __future__ import annotations

from collections.abc import Collection

from variant_parallelism.gateway.outbound import Outbound
from variant_parallelism.gateway.roster import SILENT_PERIODS, Node
from variant_parallelism.wire import SEQUENCE_BITS, Hello

JUMPS = (1 << 12, 1 << 17, 1 << 21)
"""What a run may add to its boot counter: many restarts within minutes; three months and four years
of minutes, for a clock that stood still."""

_HIGHEST_JUMP = 1 << 23
"""Jumps stop at half of the counter's range, so that no mistake can use it up."""

_STALE_AFTER = 3
"""Replayed messages in a row, from a node that is not up, that are worth a warning."""

_IGNORED = 3
"""Messages rejected, and messages unanswered, that are no accident."""


class BootRecovery:
    """Raises the boot counter when nodes turn out to have seen a higher one."""

    def __init__(self, out: Outbound, nodes: Collection[Node]) -> None:
        self._out = out
        self._nodes = nodes
        self._left = list(JUMPS)
        self._warned = False
        self._hopeless: set[int] = set()
        self._superseded: set[int] = set()

    def answered(self, node: Node) -> None:
        """The node answered something: it listens."""
        node.mark_answered()
        node.rejected_before = None

    def hello(self, node: Node, hello: Hello, same_boot: bool) -> tuple[bool, str | None]:
        """Judge a HELLO: whether the boot counter jumped, and what to tell people."""
        if not same_boot or node.rejected_before is None or node.take_votes():
            node.mark_answered()
            node.rejected_before = hello.rejected
            return False, None
        # What was on its way at a jump, under the old counter, is rejected yet: it means nothing.
        old = max(0, node.jumped_at - node.answered_at)
        unanswered = node.counted("messages_out") - node.answered_at - old
        if min(hello.rejected - node.rejected_before - old, unanswered) < _IGNORED:
            return False, None
        return self._jump(node)

    def superseded(self, node: Node) -> tuple[bool, str | None]:
        """The node knows newer requests than the newest: the same results as for `hello`."""
        if node.id in self._superseded:
            return False, self._give_up(node)
        self._superseded.add(node.id)
        return self._jump(node)

    def _jump(self, node: Node) -> tuple[bool, str | None]:
        before = self._out.boot
        if not self._left or before + self._left[0] > _HIGHEST_JUMP:
            return False, self._give_up(node)
        self._out.raise_boot(self._left.pop(0))
        for other in self._nodes:
            other.jumped_at = other.counted("messages_out")
        if self._warned:
            return True, None
        self._warned = True
        return True, (
            f"node {node.id} takes what this gateway sends for old: it has heard boot counter "
            f"{before} or higher; raising ours. Keep the state folder (--state-dir), set the clock"
        )

    def _give_up(self, node: Node) -> str | None:
        if node.id in self._hopeless:
            return None
        self._hopeless.add(node.id)
        return (
            f"node {node.id} takes what this gateway sends for old, also under boot counter "
            f"{self._out.boot}: cut the node's power, so that it forgets what it heard"
        )


def silence_warning(node: Node, now: float, hello_s: float) -> str | None:
    """What to tell people about a node that never announced itself, once."""
    silent_for = SILENT_PERIODS * hello_s
    quiet = node.linked and node.hello is None and not node.silence_told
    if not quiet or now < node.linked_at + silent_for or node.counted("replayed"):
        return None
    node.silence_told = True
    who = f"node {node.id} ({node.variant.name}) at {node.table.port}"
    if node.counted("forged"):
        return f"{who} has another key: check key_file, or provision the node again"
    if node.counted("foreign"):
        return f"{who} is another node, or of another fleet: check the ids in the fleet file"
    what = "the port and its baud rate" if node.serial else "the address and the network"
    return f"{who} has not answered for {silent_for:g} s: check its power, {what}"


def stale_warning(node: Node) -> str | None:
    """What to tell people about a node whose counters went back, once; None if all is well."""
    if node.stale < _STALE_AFTER:
        node.stale_told = False
        return None
    if node.stale_told or node.alive:
        return None
    node.stale_told = True
    return (
        f"node {node.id} repeats counters up to boot {node.highest_counter >> SEQUENCE_BITS}, "
        "its messages are dropped: give it a higher boot counter, or remove it from the "
        "gateway's state file"
    )
