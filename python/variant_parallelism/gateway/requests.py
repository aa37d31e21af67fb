"""Requests in flight and those that ended lately: who was asked, who answered."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.ballot import ASKED, ERROR, HERE, Ballot
from variant_parallelism.gateway.gate import Gate
from variant_parallelism.gateway.judging.plans import Plan
from variant_parallelism.preprocess import MAX_SIDE
from variant_parallelism.wire import CHUNK_SIZE, MAX_K

if TYPE_CHECKING:
    from variant_parallelism.gateway.combining import Combiner

REMEMBERED = 1024
"""Ended requests that late and duplicate answers are told apart for."""


class Asked(Protocol):
    """A node, as far as requests know them."""

    @property
    def id(self) -> int: ...

    @property
    def slot(self) -> int: ...


@dataclass(slots=True, eq=False)
class Request:
    """One input that the fleet is asked about: an image, or (`triggered`) what each node captures
    by itself, and then `shape` and `data` are empty. Times in seconds of the core's clock."""

    id: int
    shape: tuple[int, int, int]
    """Height, width, channels."""
    data: bytes
    k: int
    started: float
    deadline: float
    ballot: Ballot
    errors: dict[int, str] = field(default_factory=dict)
    """By node id; of a node that voted after all, too."""
    numbers: dict[int, int] = field(default_factory=dict)
    """Numbers on the wire for the nodes that had begun a newer request than `id`."""
    taken: list[int] = field(default_factory=list)
    """All numbers that it ever had on the wire."""
    label: int | None = None
    """The right class, if the caller knows it."""
    combiner: Combiner | None = None
    """What combines its votes, if not the fleet's own: nodes that voted are gone since."""
    triggered: bool = False
    plan: Plan = field(default_factory=Plan)
    open_until: float | None = None
    """When it ends without the votes that are missing; None: its deadline was not noticed yet."""
    encoded: dict[tuple[int, int, bool], tuple[int, bytes]] = field(default_factory=dict)
    """Messages ready to send, with their counters, by number, chunk and report flag."""
    engaged: set[int] = field(default_factory=set)
    """Nodes that have it in their queue or work on it."""

    @property
    def chunks(self) -> int:
        return -(-len(self.data) // CHUNK_SIZE)

    def chunk(self, number: int) -> bytes:
        return self.data[number * CHUNK_SIZE : (number + 1) * CHUNK_SIZE]

    def number(self, node: int) -> int:
        """What this node knows the request as."""
        return self.numbers.get(node, self.id)

    def asked(self, node: Asked) -> bool:
        return self.ballot.is_in(node.slot, ASKED)

    def has_vote(self, node: Asked) -> bool:
        return self.ballot.is_in(node.slot, HERE)

    def settled(self, node: Asked) -> bool:
        """Whether this node has said what it had to say."""
        return self.ballot.is_in(node.slot, HERE | ERROR)


@dataclass(frozen=True, slots=True)
class Ended:
    """What is kept of a request: by slot, whether its node was asked and has voted."""

    states: bytes
    deadline: float
    plan: Plan
    waiting: dict[int, float]
    """By the slot of each node that was asked and has not voted: when it went out to it."""

    def asked(self, node: Asked) -> bool:
        return node.slot < len(self.states) and bool(self.states[node.slot] & ASKED)

    def has_vote(self, node: Asked) -> bool:
        return node.slot < len(self.states) and bool(self.states[node.slot] & HERE)


class RequestBook:
    """Numbers requests and remembers the ended ones."""

    def __init__(self, gate: Gate, first: int) -> None:
        self.open: dict[int, Request] = {}
        """By id, oldest first."""
        self._gate = gate
        self._numbers: dict[int, Request] = {}
        self._next = first & 0xFFFF
        self._ended: OrderedDict[int, Ended] = OrderedDict()

    def add(self, image: NDArray[np.uint8], k: int, now: float, deadline: float) -> Request:
        """A new request under the next free 16-bit number."""
        height, width, channels = image.shape
        shape = (height, width, channels)
        return self._add(shape, image.tobytes(), k, now, deadline)

    def add_trigger(self, k: int, now: float, deadline: float) -> Request:
        """A new request about what the nodes capture."""
        request = self._add((0, 0, 0), b"", k, now, deadline)
        request.triggered = True
        return request

    def _add(
        self, shape: tuple[int, int, int], data: bytes, k: int, now: float, deadline: float
    ) -> Request:
        number = self._free_number()
        ballot = Ballot(number, self._gate.size, k)
        request = Request(number, shape, data, k, now, deadline, ballot)
        self.open[number] = request
        self._take_number(number, request)
        return request

    def renumber(self, request: Request, node: int) -> None:
        """Give a request a number, for one node, that is newer than all before."""
        number = self._free_number()
        request.numbers[node] = number
        self._take_number(number, request)

    def _free_number(self) -> int:
        while self._next in self._numbers:
            self._next = (self._next + 1) & 0xFFFF
        number = self._next
        self._next = (number + 1) & 0xFFFF
        self._ended.pop(number, None)
        return number

    def _take_number(self, number: int, request: Request) -> None:
        self._numbers[number] = request
        request.taken.append(number)
        self._gate.open_ballot(number, request.ballot)

    def find(self, number: int) -> Request | None:
        """The open request of this number on the wire."""
        return self._numbers.get(number)

    def end(self, request: Request) -> None:
        del self.open[request.id]
        request.encoded.clear()
        ballot = request.ballot
        ended = Ended(
            ballot.states.tobytes(),
            request.deadline,
            request.plan,
            ballot.sent_in_vain() if ballot.here < ballot.asked else {},
        )
        for number in request.taken:
            del self._numbers[number]
            self._gate.close_ballot(number)
            self._ended[number] = ended
        while len(self._ended) > REMEMBERED:
            self._ended.popitem(last=False)

    def ended(self, number: int) -> Ended | None:
        return self._ended.get(number)


def check_terms(fleet: Fleet, k: int, deadline_s: float, label: int | None) -> None:
    """VpError if a fleet cannot be asked on these terms, whatever it is asked about."""
    classes = len(fleet.manifest.classes)
    if not 1 <= k <= min(MAX_K, classes):
        raise VpError(f"k must be 1 to {min(MAX_K, classes)}, not {k}")
    if not 0 < deadline_s <= 600:
        raise VpError(f"the deadline must be over 0 and up to 600000 ms, not {deadline_s * 1000:g}")
    if label is not None and not 0 <= label < classes:
        raise VpError(f"label {label} is no class: the fleet has 0 to {classes - 1}")


def check(
    fleet: Fleet,
    image: NDArray[np.uint8],
    k: int,
    deadline_s: float,
    label: int | None = None,
) -> None:
    """VpError if a fleet cannot be asked about this image."""
    check_terms(fleet, k, deadline_s, label)
    channels = fleet.manifest.input.channels
    good = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == channels
    if not good or not all(1 <= side <= MAX_SIDE for side in image.shape[:2]):
        raise VpError(
            f"an image must be uint8, height x width x {channels}, sides 1 to {MAX_SIDE}, "
            f"not {image.dtype} {'x'.join(map(str, image.shape))}"
        )


def is_newer(number: int, than: int) -> bool:
    """Whether a node takes `number` for newer: the signed 16-bit difference is above 0."""
    return 0 < (number - than) & 0xFFFF < 0x8000
