"""One image on its way to several nodes by multicast: what goes out when, and who is waited for.

The group gets the image in bursts of at most `WINDOW` chunks. The next burst goes out once every
member in step has reported the one before, so that none of them has more than a window to take in.
What one member alone misses goes to it by unicast beside the next burst, what several miss is sent
to the group again as part of it. A member that takes clearly longer to report than half of them did
falls out of step: it is not waited for before it has caught up with them. All of it is a matter of
the members' own transfers: when everything was sent once, each of them goes on by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from variant_parallelism.gateway.dispatch import WINDOW, Chunk, Transfer

_LAPSES = 2
"""How often a member may fall out of step and come back during one image."""
_SLOWER = 1.5
_JITTER_S = 0.004
"""A member is waited for so many times as long as half of them took to report, or for so long after
that, whichever is longer."""


@dataclass(slots=True)
class _Member:
    transfer: Transfer
    lapses: int = 0
    lapsed: bool = False
    out: bool = False

    @property
    def in_step(self) -> bool:
        return not (self.out or self.lapsed or self.transfer.completed)

    def lapse(self) -> None:
        self.lapsed = True
        self.lapses += 1


class Cast:
    """One image's way to a group. `over`: the members' transfers go on by themselves."""

    def __init__(
        self,
        chunks: int,
        members: Mapping[int, Transfer],
        doubted: Collection[int],
        now: float,
    ) -> None:
        """`members` by node id; those `doubted` are not waited for before they have reported."""
        self.chunks = chunks
        self.over = False
        self._members: dict[int, _Member] = {}
        self._next = 0
        self._burst: list[int] = []
        self._before: int | None = None
        """The last chunk of the burst before: who has that keeps up."""
        self._burst_at = now
        self._patience_s = 0.0
        """How long a burst's last reports are waited for: bursts differ, so the longest so far."""
        self._lapse_at = float("inf")
        for node, transfer in members.items():
            self._add(node, transfer, node in doubted, now)

    def __contains__(self, node: int) -> bool:
        return not self.over and node in self._members

    @property
    def members(self) -> list[int]:
        return list(self._members)

    @property
    def behind(self) -> list[int]:
        """Members that multicast does not reach, or not in time."""
        return [
            node
            for node, member in self._members.items()
            if (member.out or member.lapsed) and not member.transfer.completed
        ]

    def join(self, node: int, transfer: Transfer, now: float) -> None:
        """A node that may have heard a part of the image already: it is not waited for either."""
        self._add(node, transfer, True, now)
        transfer.overhear(self._burst, now)

    def drop(self, node: int) -> None:
        """A node needs no more of this image."""
        self._members.pop(node, None)

    def wake_at(self) -> float:
        """When `due` has something to do, if nothing arrives before."""
        wakes = (
            member.transfer.wake
            for member in self._members.values()
            if member.transfer.flying or not member.in_step
        )
        return min(self._lapse_at, *wakes, float("inf"))

    def due(self, now: float) -> list[tuple[int | None, Chunk]]:
        """What to send at `now`: (node, chunk) by unicast, (None, chunk) to the group."""
        sending = self._questions(now)
        self._pass_over_the_slow(now)
        in_step = {node: member for node, member in self._members.items() if member.in_step}
        if not in_step and (not self._members or any(m.out for m in self._members.values())):
            self._end(now)
        elif in_step and not any(member.transfer.flying for member in in_step.values()):
            sending += self._round(in_step, now)
            if self._next == self.chunks:
                self._end(now)
        return sending

    def _add(self, node: int, transfer: Transfer, doubted: bool, now: float) -> None:
        self._members[node] = _Member(transfer, lapsed=doubted)
        if doubted:
            transfer.doubt(now)

    def _questions(self, now: float) -> list[tuple[int | None, Chunk]]:
        """Ask those whose time is over, and see who has reported since."""
        sending: list[tuple[int | None, Chunk]] = []
        for node, member in self._members.items():
            transfer = member.transfer
            if transfer.flying or not member.in_step:
                sending += ((node, chunk) for chunk in transfer.due(now, ()))
            if transfer.completed:
                continue
            if transfer.late:
                if not member.lapsed:
                    member.lapse()
                continue
            keeps_up = self._before is not None and self._before not in transfer.missing
            if member.lapsed and (keeps_up or not transfer.flying):
                member.lapsed = False
                member.out |= member.lapses > _LAPSES
            if member.lapsed or not transfer.flying:
                member.out |= self._is_deaf(transfer)
        return sending

    def _pass_over_the_slow(self, now: float) -> None:
        """Once half of those in step have reported, the others have half as long again."""
        in_step = [member for member in self._members.values() if member.in_step]
        slow = [member for member in in_step if member.transfer.flying]
        if not slow or 2 * len(slow) > len(in_step):
            self._lapse_at = float("inf")
            return
        if self._lapse_at == float("inf"):
            pace = now - self._burst_at
            self._patience_s = max(self._patience_s, _SLOWER * pace, pace + _JITTER_S)
            self._lapse_at = self._burst_at + self._patience_s
        if now >= self._lapse_at:
            self._lapse_at = float("inf")
            for member in slow:
                member.transfer.overdue()
                member.lapse()

    def _is_deaf(self, transfer: Transfer) -> bool:
        """Whether a node has reported nothing of what the group was sent."""
        unheard = transfer.missing | transfer.flying
        return 0 < self._next == sum(number < self._next for number in unheard)

    def _round(self, in_step: dict[int, _Member], now: float) -> list[tuple[int | None, Chunk]]:
        missing = {node: member.transfer.missing for node, member in in_step.items()}
        counts = Counter(n for of_one in missing.values() for n in of_one if n < self._next)
        shared = sorted(number for number, count in counts.items() if count > 1)
        own = {
            node: sorted(number for number in of_one if counts[number] == 1)[:WINDOW]
            for node, of_one in missing.items()
        }
        room = WINDOW - max(map(len, own.values()))
        fresh = range(self._next, self.chunks)
        burst = [*shared, *fresh][:room]
        sending: list[tuple[int | None, Chunk]] = []
        for node, member in in_step.items():
            if own[node]:
                sending += ((node, chunk) for chunk in member.transfer.due(now, own[node]))
            if burst:
                member.transfer.send(burst, now)
        for member in self._members.values():
            if member.lapsed and burst:
                member.transfer.overhear(burst, now)
        sending += (
            (None, Chunk(number, number == burst[-1], number < self._next)) for number in burst
        )
        if burst:
            self._before = self._burst[-1] if self._burst else None
            self._burst = burst
        self._burst_at = now
        self._lapse_at = float("inf")
        self._next = max([self._next, *(number + 1 for number in burst)])
        return sending

    def _end(self, now: float) -> None:
        """Those that were left behind may have heard more than they said: they are asked first."""
        self.over = True
        for node in self.behind:
            self._members[node].transfer.ask_first(now)
