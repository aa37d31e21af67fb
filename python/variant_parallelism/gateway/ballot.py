"""The votes of one request as arrays, by the nodes' slots: C writes into them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from variant_parallelism._native import ffi, lib

ASKED: int = lib.VP_VOTE_ASKED
HERE: int = lib.VP_VOTE_HERE
ERROR: int = lib.VP_VOTE_ERROR
_SENT: int = lib.VP_VOTE_SENT
_WORKING: int = lib.VP_VOTE_WORKING
_MAX_K: int = lib.VP_WIRE_MAX_K

_FIELDS: dict[str, Any] = {
    "sent": np.float64,
    "at": np.float64,
    "time_quarter_ms": np.uint16,
    "wire_bytes": np.uint16,
    "classes": (np.uint16, _MAX_K),
    "scores": (np.int8, _MAX_K),
    "state": np.uint8,
}
_VOTE = np.dtype(
    {
        "names": list(_FIELDS),
        "formats": list(_FIELDS.values()),
        "offsets": [ffi.offsetof("vp_vote", name) for name in _FIELDS],
        "itemsize": ffi.sizeof("vp_vote"),
    }
)


class Ballot:
    """Who was asked, who voted what. A slot above its size was never asked."""

    __slots__ = ("_rows", "c", "rows", "size")

    def __init__(self, number: int, size: int, k: int) -> None:
        """`size` slots, none of them asked; `number` is the request's own."""
        self.size = size
        self.rows: NDArray[np.void] = np.zeros(size, _VOTE)
        """One `vp_vote` a slot, with its fields' names."""
        self._rows = ffi.from_buffer("vp_vote[]", self.rows, require_writable=True)
        self.c = ffi.new("vp_ballot *")
        self.c.votes, self.c.size, self.c.number, self.c.k = self._rows, size, number, k

    @property
    def awaited(self) -> int:
        """Nodes that were asked, are waited for and have said nothing yet."""
        return int(self.c.awaited)

    @property
    def asked(self) -> int:
        """Nodes that were asked."""
        return int(self.c.asked)

    @property
    def here(self) -> int:
        """Votes."""
        return int(self.c.here)

    @property
    def states(self) -> NDArray[np.uint8]:
        """ASKED, HERE and ERROR bits, by slot."""
        return self.rows["state"]

    def is_in(self, slot: int, bits: int) -> bool:
        """Whether a node has any of these bits."""
        return slot < self.size and bool(self._rows[slot].state & bits)

    def ask(self, slot: int, awaited: bool) -> None:
        """A node is asked now; `awaited`: and waited for."""
        row = self._rows[slot]
        if not row.state & ASKED:
            row.state |= ASKED
            self.c.asked += 1
            self.c.awaited += awaited

    def withdraw(self, slot: int) -> None:
        """A node is not asked any more; a vote that is here stays."""
        if slot < self.size and not self._rows[slot].state & HERE:
            self._rows[slot].state = 0

    def grow(self, size: int) -> None:
        """Room for slots that are newer than the ballot."""
        if size <= self.size:
            return
        rows: NDArray[np.void] = np.zeros(size, _VOTE)
        rows[: self.size] = self.rows
        self._rows = ffi.from_buffer("vp_vote[]", rows, require_writable=True)
        self.rows, self.size = rows, size
        self.c.votes, self.c.size = self._rows, size

    def recount(self, awaited: NDArray[np.uint8]) -> None:
        """Count anew who is waited for; `awaited` (slots,) are the nodes that may be."""
        silent = self.states & (ASKED | HERE | ERROR) == ASKED
        self.c.awaited = int(np.count_nonzero(awaited[: self.size] & silent))

    def fail(self, slot: int, awaited: bool) -> None:
        """A node that was asked said that it has no vote."""
        row = self._rows[slot]
        if not row.state & (HERE | ERROR):
            self.c.awaited -= awaited
        row.state |= ERROR

    def sent(self, slot: int, now: float) -> None:
        """The first of it goes out to a node."""
        row = self._rows[slot]
        if not row.state & _SENT:
            row.sent, row.state = now, row.state | _SENT

    def send(self, slots: Sequence[int], now: float) -> None:
        """It goes out to these nodes for the first time."""
        self.rows["sent"][slots] = now
        self.rows["state"][slots] |= np.uint8(_SENT)

    def unsend(self, slot: int) -> None:
        """What went out to a node was in vain."""
        self._rows[slot].state &= ~_SENT

    def sent_at(self, slot: int) -> float:
        """When it first went out to a node that it was sent to."""
        return float(self._rows[slot].sent)

    def inferred_s(self, slot: int) -> float:
        """From the whole input to the answer of a node that voted, as it says."""
        return float(self._rows[slot].time_quarter_ms) / 4000

    def took_s(self, slot: int) -> float:
        """From the question to the vote of a node that voted."""
        return float(self._rows[slot].at - self._rows[slot].sent)

    def votes_since(self, then: float) -> int:
        """Votes that came after `then`."""
        return int(np.count_nonzero((self.states & HERE > 0) & (self.rows["at"] > then)))

    def sent_to(self, slots: NDArray[np.intp]) -> NDArray[np.float64]:
        """When it first went out to each of these nodes; infinity where it has not."""
        rows = self.rows[slots]
        return np.where(rows["state"] & _SENT, rows["sent"], np.inf)

    def sent_in_vain(self) -> dict[int, float]:
        """By the slot of each node that it was sent to and that has not voted: when it was."""
        slots = np.flatnonzero(self.states & (_SENT | HERE) == _SENT)
        return dict(zip(slots.tolist(), self.rows["sent"][slots].tolist(), strict=True))

    def is_unanswered(self, slot: int) -> bool:
        """Whether it was sent to a node that has said nothing yet."""
        return slot < self.size and self._rows[slot].state & (_SENT | HERE | ERROR) == _SENT

    def unanswered(self) -> NDArray[np.intp]:
        """The slots for which that is so."""
        return np.flatnonzero(self.states & (_SENT | HERE | ERROR) == _SENT)

    def work(self, slot: int, working: bool) -> None:
        """Whether a node's transfer waits for its vote."""
        row = self._rows[slot]
        row.state = row.state | _WORKING if working else row.state & ~_WORKING


def latencies_s(rows: NDArray[np.void], started: float) -> NDArray[np.float64]:
    """From the first of a request that went out to the vote, for some of a ballot's `rows` that
    have one; `started` where nothing is known of the former."""
    sent = np.where(rows["state"] & _SENT, rows["sent"], started)
    return np.asarray(rows["at"] - sent, dtype=np.float64)
