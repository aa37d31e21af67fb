"""How one image reaches one node: a window of chunks, reports, retransmission, time-outs.

At most `WINDOW` chunks are on their way to a node at any time. The last chunk of every burst asks
for a report (SACK); what that says is missing goes out again, with a new counter, if it was lost:
if something sent after it arrived, or if it was sent longer ago than the time-out. When no report
comes, an empty chunk asks for one. All of it is bookkeeping: nothing here sends or reads a clock.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from variant_parallelism.wire import CHUNK_SIZE, MAX_RANGES, Sack

WINDOW = 6
"""Chunks that a small Ethernet controller's FIFO surely holds (docs/protocol.md, SACK)."""

_MIN_TIMEOUT_S = 0.02
_MAX_RATIO = 10.0
_MAX_DOUBLINGS = 2
_LATE = 2
"""Questions without a report from which on a node counts as late: the first makes up for a lost
report."""
_FIRST_ANSWER_S = 0.1
_BITS_PER_BYTE = 10
_CHUNK_ON_WIRE = CHUNK_SIZE + 32


class Timing:
    """The time-out of one node's link, learnt from how long its reports take.

    Samples are ratios to the nominal time of what was sent, so that one chunk and six share an
    estimate on a line of 11 KB/s: mean and deviation as in RFC 6298, section 2.
    """

    def __init__(self, baud: int | None) -> None:
        """`baud` of a serial line in bit/s (8N1); None for a network."""
        self._seconds_per_byte = _BITS_PER_BYTE / baud if baud else 0.0
        self._ratio = 2.0
        self._deviation = 0.5
        self._sampled = False
        self.answer_s = _FIRST_ANSWER_S
        """How long the node takes from a whole image to its answer, as it says, smoothed."""

    @property
    def is_line(self) -> bool:
        """Whether what is sent waits in a queue: a serial line, not a network."""
        return self._seconds_per_byte > 0

    def _nominal(self, chunks: int) -> float:
        return 0.01 + chunks * _CHUNK_ON_WIRE * self._seconds_per_byte

    def timeout(self, chunks: int) -> float:
        """Seconds to wait for the report of `chunks` full chunks (at least of one)."""
        seconds = self._nominal(max(1, chunks)) * (self._ratio + 4 * self._deviation)
        return max(_MIN_TIMEOUT_S, seconds)

    def sample(self, chunks: int, elapsed: float) -> None:
        """A report of `chunks` chunks came `elapsed` seconds after they were sent."""
        ratio = elapsed / self._nominal(chunks)
        if self._sampled:
            self._deviation += 0.25 * (abs(ratio - self._ratio) - self._deviation)
            self._ratio += 0.125 * (ratio - self._ratio)
        else:
            self._ratio, self._deviation, self._sampled = ratio, ratio / 2, True

    def too_short(self) -> None:
        """A report came after its time-out: the line is slow, or an earlier report was lost."""
        self._ratio = min(1.25 * self._ratio, _MAX_RATIO)

    def sample_answer(self, seconds: float) -> None:
        """The node says that its last answer took so long."""
        self.answer_s += 0.25 * (seconds - self.answer_s)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One message to send. `number` None: no data, only the question what is there.

    `again`: this node was sent the chunk before, so its message needs a new counter.
    """

    number: int | None
    report: bool
    again: bool


@dataclass(slots=True)
class _Sent:
    order: int
    at: float


class Transfer:
    """One image on its way to one node."""

    def __init__(self, chunks: int, timing: Timing, now: float) -> None:
        self.chunks = chunks
        self.completed = False
        self.wake = now
        """When `due` has something to do, if nothing arrives before."""
        self._timing = timing
        self._todo = set(range(chunks))
        self._flying: dict[int, _Sent] = {}
        self._tried: set[int] = set()
        self._repeated: set[int] = set()
        self._order = 0
        self._burst = (now, 0)
        self._progress_at = now
        self._sack_counter = -1
        self._doublings = 0
        self._all_lost = False
        self._asks_first = False
        self._overdue = False

    @property
    def flying(self) -> set[int]:
        """Chunks sent and neither reported nor given up as lost: never more than WINDOW."""
        return set(self._flying)

    @property
    def missing(self) -> set[int]:
        """Chunks that are neither there nor flying."""
        return set(self._todo)

    @property
    def late(self) -> bool:
        """Whether a question was not answered in time, or a report took too long for others who
        wait for it, and nothing was reported since."""
        return self._overdue or self._doublings >= _LATE

    def due(self, now: float, allowed: Collection[int] | None = None) -> list[Chunk]:
        """What to send at `now`, of the chunks `allowed` if not None; `wake` is set to the next
        time-out."""
        todo = self._todo if allowed is None else self._todo.intersection(allowed)
        burst = [] if self._asks_first else sorted(todo)[: WINDOW - len(self._flying)]
        if burst:
            return self.send(burst, now)
        if now < self.wake:
            return []
        self._doublings = min(self._doublings + 1, _MAX_DOUBLINGS)
        self.wake = now + self._patience()
        return [Chunk(None, report=True, again=False)]

    def _patience(self) -> float:
        """How long to wait for a report, or, once the image is there, for the answer."""
        if self.completed:
            seconds = 1.5 * self._timing.answer_s + self._timing.timeout(1)
        else:
            # What was sent before the first question is off the line by the second.
            seconds = self._timing.timeout(1 if self._doublings else len(self._flying))
        return seconds * 2.0**self._doublings

    def send(self, burst: list[int], now: float) -> list[Chunk]:
        """Take chunks for sent at `now`, in this order; as messages, the last asks for a report."""
        sent = [Chunk(number, number == burst[-1], number in self._tried) for number in burst]
        self._let_fly(burst, now)
        self._doublings = 0
        self._burst = (now, len(burst))
        self.wake = now + self._patience()
        return sent

    def overhear(self, burst: list[int], now: float) -> None:
        """Others were sent a burst that the node hears, too, if it lives: that is now all that may
        be on its way to it."""
        self._todo.update(self._flying)
        self._flying.clear()
        self._let_fly(burst, now)

    def _let_fly(self, burst: list[int], now: float) -> None:
        for number in burst:
            self._todo.discard(number)
            self._flying[number] = _Sent(self._order, now)
            self._order += 1
        self._repeated |= self._tried.intersection(burst)
        self._tried.update(burst)

    def restart(self, now: float) -> None:
        """The node may have forgotten everything: ask it, and believe what it misses is lost."""
        self._all_lost = True
        self._doublings = 0
        self.wake = now

    def ask_first(self, now: float) -> None:
        """Ask what is there, and send nothing before the next report."""
        self._asks_first = True
        self._doublings = 0
        self.wake = now

    def overdue(self) -> None:
        """Count as late until the next report; the time to ask for it stays."""
        self._overdue = True

    def doubt(self, now: float) -> None:
        """Count as late until the next report; a time-out from now it is asked for."""
        self._doublings = _LATE
        self.wake = now + self._patience()

    def acknowledge(self, sack: Sack, counter: int, now: float) -> None:
        """Take a report; `counter` is its message's. One overtaken by a newer one is ignored."""
        missing = set(_expand(sack.missing, self.chunks))
        told = self._told(sack, len(missing))
        if counter <= self._sack_counter or told is None:
            return
        self._sack_counter = counter
        self._asks_first = self._overdue = False
        patience = self._timing.timeout(len(self._flying))
        arrived = {number for number in self._flying if number < told} - missing
        newest = self._take_arrived(arrived, now)
        missing.update(number for number in self._todo if number >= told)
        for number, sent in list(self._flying.items()):
            waits_since = max(sent.at, self._progress_at) if self._timing.is_line else sent.at
            silence = now - waits_since
            overtaken = sent.order < newest and number < told
            if self._all_lost or overtaken or silence >= patience:
                del self._flying[number]
                missing.add(number)
        self._all_lost = False
        self._todo = missing - self._flying.keys()
        if self.completed and not missing:
            return
        self.completed = not missing
        self._doublings = 0
        self.wake = now + self._patience()

    def _told(self, sack: Sack, missing: int) -> int | None:
        """Up to which chunk a report tells what is there: it names so many ranges and no more. None
        if it contradicts itself."""
        untold = self.chunks - sack.received - missing
        if untold > 0 and len(sack.missing) == MAX_RANGES:
            return sum(sack.missing[-1])
        return None if untold else self.chunks

    def _take_arrived(self, arrived: set[int], now: float) -> int:
        """Chunks that are there now; the place in the order of sending of the last of them.

        The report that a burst asked for teaches `Timing` how long a burst takes, unless it came
        after another question or tells of a repeated chunk: nobody knows then what it answers
        (Karn's rule).
        """
        if not arrived:
            return -1
        self._progress_at = now
        ambiguous = bool(arrived & self._repeated)
        newest = max(self._flying.pop(number).order for number in arrived)
        if newest == self._order - 1 and not ambiguous:
            sent_at, size = self._burst
            if self._doublings == 0:
                self._timing.sample(size, now - sent_at)
            else:
                self._timing.too_short()
        return newest


def _expand(ranges: Iterable[tuple[int, int]], limit: int) -> Iterable[int]:
    for first, count in ranges:
        yield from range(first, min(first + count, limit))
