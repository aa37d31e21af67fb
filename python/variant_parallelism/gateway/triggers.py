"""Triggers: which nodes are told to capture, when, and who is asked again.

A TRIGGER is one short message for all, so nothing is kept per node but when it was sent. It
replaces what a node has not got whole, as a newer image would replace a capture: so a node gets one
request after the other, image or trigger. A group is told as soon as every member with an input
source is ready; if one takes too long, those that are ready are told one by one, and the others
when they are. Members that do not even answer questions are not waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from variant_parallelism.gateway.ballot import ASKED, HERE
from variant_parallelism.gateway.gate import Gate
from variant_parallelism.gateway.outbound import Outbound
from variant_parallelism.gateway.requests import Request, is_newer
from variant_parallelism.gateway.roster import Node
from variant_parallelism.wire import Sack

DOUBT_REQUESTS = 16
"""Requests after which a node that multicast did not reach is waited for again."""
_LAG_REQUESTS = 4
"""Requests that a node gets before the others wait for it once more."""
_HOLD_TIMEOUTS = 2
_HOLD_SHARE = 0.25
"""How long the group waits for a member: so many time-outs, or this part of its usual time to an
answer."""
_SOON = 4
"""Pauses of half the time that a group has to itself, in which the rest of its answers is to come
if that is to go on."""
_MUTE = 2
"""Questions in a row without any answer after which a node is not waited for."""
_MAX_DOUBLINGS = 1
_SLACK = 1.25
_SMOOTHING = 0.25
_FIRST_LOOK_S = 0.02
"""No node's time-out is shorter."""
_LOOK_S = 0.005
"""How often to look whether those that something waits for are ready."""
_NEVER = float("inf")
_AT_ONCE = float("-inf")


@dataclass(slots=True)
class _Trigger:
    """What is known of an open trigger besides its request. Who was told, and when, is in the
    request's ballot."""

    request: Request
    waiting: set[int]
    """Nodes that are to be told as soon as they are ready."""
    is_fresh: bool = False
    """Whether all that were asked are, and `waiting` was not filled yet."""
    rest_until: float = _AT_ONCE
    """If all were told by one message to the group: until when other triggers wait for them."""
    ask_at: float = _NEVER
    """When to look whose answer is overdue."""
    hold_until: float | None = None
    """How long the group waits for members that are not ready."""
    told: dict[int, float] = field(default_factory=dict)
    """When a node was last asked how far it is, or last said so."""
    missed: set[int] = field(default_factory=set)
    """Nodes that were asked again, and that the first message had not reached."""
    slow: set[int] = field(default_factory=set)
    """Nodes that were asked again, and had begun before."""
    questions: dict[int, int] = field(default_factory=dict)
    """Questions in a row, by node, that nothing answered."""

    def unanswered(self, gate: Gate) -> set[int]:
        """Nodes that were told, and have said neither what they see nor why not."""
        return set(gate.ids[self.request.ballot.unanswered()].tolist())

    def is_with(self, node: Node) -> bool:
        """Whether a node was told and has not answered."""
        return self.request.ballot.is_unanswered(node.slot)


class Triggers:
    """A fleet's open triggers, oldest first."""

    def __init__(
        self,
        nodes: dict[int, Node],
        out: Outbound,
        gate: Gate,
        hears: Callable[[Node], bool],
        has_group: Callable[[], bool],
        renumber: Callable[[Node, Request], None],
    ) -> None:
        """`hears` tells whether a node takes part in multicast, `has_group` whether there is any;
        `renumber` gives a request a number that is the newest, for one node."""
        self._nodes = nodes
        self._out = out
        self._gate = gate
        self._hears = hears
        self._has_group = has_group
        self._renumber = renumber
        self._open: dict[int, _Trigger] = {}
        """By the request's id."""
        self._laggards: dict[int, int] = {}
        """Triggers left, by node, for which the group does not wait until it is ready."""
        self._usual: dict[int, float] = {}
        """Seconds from the trigger to the answer, of nodes that were too slow for the time-out."""
        self._mute: set[int] = set()
        """Nodes that do not even answer questions."""
        self._look_at = _NEVER
        """When to look whether nodes are ready that triggers, or images, wait for."""

    # Who is asked.

    def begin(self, request: Request) -> None:
        """A new trigger for all that its ballot asks."""
        if request.ballot.asked:
            self._open[request.id] = _Trigger(request, set(), is_fresh=True)
            self._look_at = _AT_ONCE

    def _fill(self) -> None:
        """Look at the nodes one by one."""
        for trigger in self._open.values():
            if trigger.is_fresh:
                trigger.is_fresh = False
                slots = np.flatnonzero(trigger.request.ballot.states & ASKED)
                trigger.waiting.update(self._gate.ids[slots].tolist())

    def ask(self, node: Node, request: Request) -> None:
        """Put a trigger to a node, anew if it had it before."""
        self._fill()
        request.ballot.unsend(node.slot)
        self._open.setdefault(request.id, _Trigger(request, set())).waiting.add(node.id)
        self._look_at = _AT_ONCE

    def drop(self, node: Node) -> None:
        """A node is gone: it gets nothing more."""
        self._fill()
        self._mute.discard(node.id)
        for trigger in self._open.values():
            trigger.waiting.discard(node.id)

    def forget(self, request: Request) -> None:
        """A trigger is over for all."""
        trigger = self._open.pop(request.id, None)
        if trigger is not None:
            self._learn(trigger)
            self._mute = {node for node in self._mute if not request.settled(self._nodes[node])}
            self._look_at = _AT_ONCE

    def _learn(self, trigger: _Trigger) -> None:
        """How long those take that were asked again: by their own word, and from the trigger to the
        answer if they are slower than the time-out.

        An answer after a question in vain says nothing of that: it may have been lost before.
        """
        ballot = trigger.request.ballot
        for node_id in trigger.told:
            node = self._nodes.get(node_id)
            if node is not None and ballot.is_in(node.slot, HERE):
                node.timing.sample_answer(ballot.inferred_s(node.slot))
        slow = trigger.slow - trigger.questions.keys()
        for node_id in slow | (self._usual.keys() - trigger.told.keys()):
            node = self._nodes.get(node_id)
            if node is None:
                self._usual.pop(node_id, None)
            elif ballot.is_in(node.slot, HERE):
                took = ballot.took_s(node.slot)
                usual = self._usual.get(node_id, 0.0)
                self._usual[node_id] = max(took, usual + _SMOOTHING * (took - usual))

    # What is heard.

    def under_way(self, now: float, node: Node, sack: Sack) -> None:
        """A node says that it works on a request, and whether it did before it was asked again."""
        self._mute.discard(node.id)
        for trigger in self._open.values():
            if trigger.is_with(node) and trigger.request.number(node.id) == sack.request:
                trigger.questions.pop(node.id, None)
                trigger.told[node.id] = now
                if not sack.received:
                    trigger.missed.add(node.id)
                    if self._hears(node):
                        node.doubted = DOUBT_REQUESTS
                elif node.id not in trigger.missed:
                    trigger.slow.add(node.id)

    def restart(self, now: float, node: Node) -> None:
        """A node may have forgotten everything: ask it."""
        for trigger in self._open.values():
            if trigger.is_with(node):
                trigger.told[node.id] = _AT_ONCE
                trigger.ask_at = now

    # Who must wait.

    def holds(self, now: float, node: Node, image: Request) -> bool:
        """Whether an image has to wait: the node captures, or is to capture first."""
        if not self._open:
            return False
        self._fill()
        held = any(
            trigger.is_with(node)
            or (node.id in trigger.waiting and is_newer(image.id, trigger.request.id))
            for trigger in self._open.values()
        )
        if held:
            self._look_at = min(self._look_at, now + _LOOK_S)
        return held

    def wake_at(self) -> float:
        """When `drive` has something to do, if nothing happens before."""
        return min([self._look_at, *(trigger.ask_at for trigger in self._open.values())])

    # What to send.

    def drive(self, now: float) -> None:
        """Send what is due."""
        if now >= self._look_at:
            self._look_at = _NEVER
            self._send_waiting(now)
        for trigger in self._open.values():
            if now >= trigger.ask_at:
                self._ask_again(now, trigger)

    def _send_waiting(self, now: float) -> None:
        first = next(iter(self._open.values()), None)
        if first is None:
            return
        self._tell_together(now, first)
        if now >= first.rest_until > _AT_ONCE and not first.waiting:
            self._rest_on(now, first)
        if now < first.rest_until and not first.waiting:
            self._look_at = first.rest_until if len(self._open) > 1 else _NEVER
            return
        self._fill()
        busy: set[int] = set()
        for trigger in self._open.values():
            busy |= trigger.unanswered(self._gate)
        for trigger in self._open.values():
            if not trigger.waiting:
                continue
            self._send(now, trigger, busy)
            busy |= trigger.waiting | trigger.unanswered(self._gate)
            if trigger.waiting:
                self._look_at = min(self._look_at, now + _LOOK_S)

    def _tell_together(self, now: float, trigger: _Trigger) -> None:
        """The usual case at a price that does not depend on the nodes: all of them are ready."""
        ballot = trigger.request.ballot
        if not trigger.is_fresh or not self._has_group() or self._laggards:
            return
        if self._gate.can_tell(ballot):
            self._out.cast_trigger(trigger.request, now)
            trigger.is_fresh = False
            trigger.rest_until = now + _hold_s(next(iter(self._nodes.values())))
            trigger.ask_at = now + _FIRST_LOOK_S

    def _rest_on(self, now: float, trigger: _Trigger) -> None:
        """Let others wait on while a group's answers pour in: while so many came lately that the
        rest is here soon. To look at all nodes one by one, and tell them so, would take longer."""
        pause = _hold_s(next(iter(self._nodes.values()))) / 2
        ballot = trigger.request.ballot
        if _SOON * ballot.votes_since(now - pause) >= ballot.asked - ballot.here > 0:
            trigger.rest_until = now + pause

    def _send(self, now: float, trigger: _Trigger, busy: set[int]) -> None:
        """Tell those that are ready; `busy` work on another trigger, or wait for an older one."""
        request = trigger.request
        ready = [
            self._nodes[node_id]
            for node_id in trigger.waiting
            if node_id not in busy and _is_free(self._nodes[node_id], request)
        ]
        for node in ready:
            newest = node.newest_request
            if newest is not None and is_newer(newest, request.number(node.id)):
                self._renumber(node, request)
        members = [node for node in ready if self._takes_from_group(node, request)]
        if len(members) > 1:
            late = self._late(trigger, busy)
            if not late:
                self._told(now, trigger, members)
                self._out.cast_trigger_to(members, request)
                ready = [node for node in ready if node.id in trigger.waiting]
            elif self._waits(now, trigger, members[0], late):
                ready = [node for node in ready if node not in members]
        self._told(now, trigger, ready)
        self._out.trigger(ready, request, report=False)

    def _takes_from_group(self, node: Node, request: Request) -> bool:
        return node.id not in request.numbers and not node.doubted and self._hears(node)

    def _late(self, trigger: _Trigger, busy: set[int]) -> list[Node]:
        """Members from which a message to the group would take something."""
        return [
            node
            for node in self._nodes.values()
            if (
                node.id in busy
                or (node.id in trigger.waiting and not _is_free(node, trigger.request))
                or (node.transfer is not None and not node.transfer.completed)
            )
            and node.has_source
            and self._hears(node)
            and node.id not in self._mute
        ]

    def _waits(self, now: float, trigger: _Trigger, member: Node, late: list[Node]) -> bool:
        """Whether the group waits for those that are late."""
        if any(node.id in self._laggards for node in late):
            return False
        if trigger.hold_until is None:
            trigger.hold_until = now + _hold_s(member)
        if now < trigger.hold_until:
            return True
        self._laggards.update((node.id, _LAG_REQUESTS) for node in late)
        return False

    def _told(self, now: float, trigger: _Trigger, nodes: list[Node]) -> None:
        """These nodes are told now."""
        if not nodes:
            return
        request = trigger.request
        for node in nodes:
            node.newest_request = request.number(node.id)
            node.begun_boot = self._out.boot
            if node.doubted:
                node.doubted -= 1
        ids = {node.id for node in nodes}
        trigger.waiting -= ids
        request.ballot.send([node.slot for node in nodes], now)
        trigger.ask_at = min(trigger.ask_at, now + _FIRST_LOOK_S)
        for node_id in self._laggards.keys() & ids:
            self._laggards[node_id] -= 1
            if not self._laggards[node_id]:
                del self._laggards[node_id]

    def _ask_again(self, now: float, trigger: _Trigger) -> None:
        trigger.ask_at = _NEVER
        for node_id in trigger.unanswered(self._gate):
            node = self._nodes[node_id]
            if not node.alive:
                continue
            asked = trigger.questions.get(node_id, 0)
            since = trigger.told.get(node_id, trigger.request.ballot.sent_at(node.slot))
            if now >= since + self._patience(node, asked):
                self._out.trigger([node], trigger.request, report=True)
                asked += 1
                since = now
                trigger.questions[node_id], trigger.told[node_id] = asked, now
                if asked >= _MUTE:
                    self._mute.add(node_id)
            trigger.ask_at = min(trigger.ask_at, since + self._patience(node, asked))

    def _patience(self, node: Node, questions: int) -> float:
        """How long to wait for an answer after so many questions."""
        slow_s = _SLACK * self._usual.get(node.id, 0.0)
        seconds = max(1.5 * node.timing.answer_s, slow_s) + node.timing.timeout(1)
        return seconds * 2.0 ** min(questions, _MAX_DOUBLINGS)


def _is_free(node: Node, request: Request) -> bool:
    """Whether no image is on its way to a node, nor waits for it that is older than a trigger."""
    return node.request is None and not any(
        is_newer(request.id, image.id) and not image.settled(node) for image in node.queue
    )


def _hold_s(member: Node) -> float:
    """How long the group waits for those that are not ready, by one that is."""
    timing = member.timing
    return max(_HOLD_TIMEOUTS * timing.timeout(1), _HOLD_SHARE * timing.answer_s)
