"""The C gate (`vp_gate.h`): what comes in, checked and counted; votes go straight into ballots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from variant_parallelism._native import ffi, lib
from variant_parallelism.gateway.ballot import HERE, Ballot
from variant_parallelism.gateway.types import Counters
from variant_parallelism.wire import Prediction

NOBODY: int = lib.VP_GATE_NOBODY
"""The slot of a source that is no node."""
BATCH: int = lib.VP_GATE_BATCH
"""Messages that may be taken before what they left is looked at."""
BLOCKED: int = lib.VP_GATE_BLOCKED
UNSUPPORTED: int = lib.VP_GATE_UNSUPPORTED

_COLUMNS = {
    name: int(getattr(lib, f"VP_COUNT_{name.upper()}")) for name in Counters.__dataclass_fields__
}
_WIDTH: int = lib.VP_COUNTS
_SEEN: dict[str, Any] = {
    "id": np.uint16,
    "alive": np.bool_,
    "source": np.bool_,
    "awaited": np.uint8,
    "quarantined": np.uint8,
    "present": np.bool_,
}
_NODE = np.dtype(
    {
        "names": list(_SEEN),
        "formats": list(_SEEN.values()),
        "offsets": [ffi.offsetof("vp_gate_node", name) for name in _SEEN],
        "itemsize": ffi.sizeof("vp_gate_node"),
    }
)


class Source(NamedTuple):
    """Where a datagram came from. IPv4 addresses are mapped ones."""

    address: IPv6Address
    port: int
    scope: int

    @property
    def host(self) -> IPv4Address | IPv6Address:
        """The address as its socket has it."""
        return self.address.ipv4_mapped or self.address

    def __str__(self) -> str:
        host = self.host
        return f"{host}:{self.port}" if host.version == 4 else f"[{host}]:{self.port}"


class Record(NamedTuple):
    """A message that Python has to read. `stale`: it was dropped as a replay.

    `stranger` is set if it looks like a HELLO of the fleet and came from no node's address, or from
    that of another node, whose `slot` it has: nothing was verified or counted then.
    """

    slot: int
    stale: bool
    message: bytes
    wire_bytes: int
    stranger: Source | None = None


class Release(NamedTuple):
    """A vote that a node's transfer waited for, with the node's own time for it."""

    slot: int
    time_s: float


class Crowd(NamedTuple):
    """What holds for all nodes, until one of them changes. Nobody writes to the arrays."""

    slots: NDArray[np.intp]
    """0, 1, ...: a slot for each node that there is or was."""
    ids: NDArray[np.int64]
    """By slot."""
    trues: NDArray[np.bool_]
    """True for each slot."""
    able: NDArray[np.intp]
    """Slots of the nodes that may be asked."""
    able_with_source: NDArray[np.intp]
    """Of those, the ones with an input source."""
    all_have_source: bool
    """Whether no node of the fleet is without one."""
    any_quarantined: bool
    """Whether any node's votes are only noted."""


class Gate:
    """A fleet's nodes as C knows them, each at a slot of its own that is never used again."""

    def __init__(self, fleet: int, classes: int, room: int) -> None:
        """`fleet` is its id on the wire, `room` the nodes that are there from the start."""
        self._c = ffi.new("vp_gate *")
        self._c.fleet, self._c.classes = fleet, classes
        self._fleet_counts = ffi.new("uint64_t[]", _WIDTH)
        self._c.fleet_counts = self._fleet_counts
        self._names = np.empty(0, dtype=np.object_)
        self._nodes: Any = ffi.NULL
        self._counts: Any = ffi.NULL
        self._ids_rise = True
        self._crowd: Crowd | None = None
        self._reserve(max(1, room))

    def _reserve(self, room: int) -> None:
        nodes = ffi.new("vp_gate_node[]", room)
        counts = ffi.new("uint64_t[]", room * _WIDTH)
        size = self._c.size
        if size:
            ffi.memmove(nodes, self._nodes, size * ffi.sizeof("vp_gate_node"))
            ffi.memmove(counts, self._counts, size * _WIDTH * 8)
        self._room, self._nodes, self._counts = room, nodes, counts
        self._seen = np.frombuffer(ffi.buffer(nodes), _NODE)
        names = np.empty(room, dtype=np.object_)
        names[:size] = self._names[:size]
        self._names = names
        self._c.nodes, self._c.counts = nodes, counts
        self._index()

    def _index(self) -> None:
        places = 1 << (2 * self._room).bit_length()
        self._places = ffi.new("uint16_t[]", [NOBODY] * places)
        self._c.places, self._c.place_mask = self._places, places - 1
        lib.vp_gate_index(self._c)

    @property
    def size(self) -> int:
        """Slots taken so far."""
        return int(self._c.size)

    @property
    def ids(self) -> NDArray[np.uint16]:
        """Node ids, by slot."""
        return self._seen["id"][: self.size]

    @property
    def awaited(self) -> NDArray[np.uint8]:
        """By slot: 1 for the nodes that requests wait for, else 0."""
        return self._seen["awaited"][: self.size]

    @property
    def quarantined(self) -> NDArray[np.uint8]:
        """By slot: 1 for the nodes whose votes are only noted, else 0."""
        return self._seen["quarantined"][: self.size]

    @property
    def present(self) -> NDArray[np.bool_]:
        """By slot: whether the node is of the fleet, still."""
        return self._seen["present"][: self.size]

    @property
    def has_source(self) -> NDArray[np.bool_]:
        """By slot: whether the node has announced an input source of its own."""
        return self._seen["source"][: self.size]

    @property
    def names(self) -> NDArray[np.object_]:
        """The nodes' variants, by slot."""
        return self._names[: self.size]

    @property
    def classes(self) -> int:
        """Classes of the fleet's predictions."""
        return int(self._c.classes)

    def id_at(self, slot: int) -> int:
        """The node at a slot."""
        return int(self._nodes[slot].id)

    @property
    def crowd(self) -> Crowd:
        """What holds for all nodes together."""
        if self._crowd is None:
            seen = self._seen[: self._c.size]
            self._crowd = Crowd(
                _fixed(np.arange(len(seen))),
                _fixed(seen["id"].astype(np.int64)),
                _fixed(np.ones(len(seen), np.bool_)),
                _fixed(np.flatnonzero(seen["alive"])),
                _fixed(np.flatnonzero(seen["alive"] & seen["source"])),
                bool(seen["source"][seen["present"]].all()),
                bool(seen["quarantined"].any()),
            )
        return self._crowd

    def changed(self) -> None:
        """A node's state, abilities or place are other ones now."""
        self._crowd = None

    def able(self, *, with_source: bool) -> NDArray[np.intp]:
        """The slots of the nodes that may be asked; of those with an input source, if so wanted."""
        return self.crowd.able_with_source if with_source else self.crowd.able

    def voters(self, ballot: Ballot) -> NDArray[np.intp]:
        """The slots of the nodes whose votes are here, in the order of their ids."""
        if ballot.here == self._c.size and self._ids_rise:
            return self.crowd.slots
        return self.by_id(np.flatnonzero(ballot.states & HERE))

    def by_id(self, slots: NDArray[np.intp]) -> NDArray[np.intp]:
        """The same slots, which rise, in the order of their nodes' ids."""
        return slots if self._ids_rise else slots[np.argsort(self.ids[slots])]

    def add(self, node_id: int, variant: str, key: bytes | None, highest: int | None) -> int:
        """A new node's slot; with `highest`, no counter up to it is accepted of the node."""
        if self._c.size == self._room:
            self._reserve(2 * self._room)
        slot = int(self._c.size)
        node = self._nodes[slot]
        node.id, node.present = node_id, 1
        node.boot = node.last_counter = node.begun_boot = node.newest = -1
        self._names[slot] = variant
        self._ids_rise = self._ids_rise and (not slot or self._nodes[slot - 1].id < node_id)
        if key is not None:
            node.is_keyed = 1
            lib.vp_blake2s_begin(key, ffi.addressof(node, "keyed"))
        if highest is not None:
            node.replay.highest, node.replay.seen = highest, 2**64 - 1
        self._c.size = slot + 1
        self.changed()
        return slot

    def retire(self, slot: int) -> None:
        """A node is of the fleet no more: whatever comes from its address is foreign."""
        node = self._nodes[slot]
        node.present = node.alive = node.open = node.awaited = node.quarantined = 0
        node.hears = node.source = node.engaged = 0
        self.changed()
        self.set_address(slot, None)

    def node(self, slot: int) -> Any:
        """A node's `vp_gate_node`, until the next `add`."""
        return self._nodes[slot]

    def set_address(
        self, slot: int, address: IPv4Address | IPv6Address | None, port: int = 0, scope: int = 0
    ) -> None:
        """Where a node sends from and is sent to; None: nowhere."""
        node = self._nodes[slot]
        node.family = 0 if address is None else address.version
        if address is not None:
            packed = address.packed
            node.address = packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed
            node.port, node.scope = port, scope
        self._index()

    def slot_at(self, address: IPv4Address | IPv6Address, port: int, scope: int = 0) -> int:
        """The slot of an address, or NOBODY."""
        packed = address.packed
        full = packed if len(packed) == 16 else bytes(10) + b"\xff\xff" + packed
        return int(lib.vp_gate_find(self._c, full, port, scope))

    # Counters.

    def count(self, slot: int, name: str, amount: int = 1) -> None:
        """Add to one of the counters of a node and of the fleet; NOBODY: of the fleet alone."""
        column = _COLUMNS[name]
        if slot != NOBODY:
            self._counts[slot * _WIDTH + column] += amount
        self._fleet_counts[column] += amount

    def count_own(self, slot: int, name: str, amount: int = 1) -> None:
        """Add to one of a node's counters alone."""
        self._counts[slot * _WIDTH + _COLUMNS[name]] += amount

    def count_many(self, slots: NDArray[np.intp], amounts: dict[str, int]) -> None:
        """Add to the counters of several nodes, not of the fleet."""
        table = np.frombuffer(ffi.buffer(self._counts), np.uint64).reshape(-1, _WIDTH)
        for name, amount in amounts.items():
            table[slots, _COLUMNS[name]] += np.uint64(amount)

    def counted(self, slot: int, name: str) -> int:
        return int(self._counts[slot * _WIDTH + _COLUMNS[name]])

    def counters(self, slot: int | None) -> Counters:
        """All of a node's counters as they are now; None: the fleet's."""
        if slot is None:
            return Counters(*ffi.unpack(self._fleet_counts, _WIDTH))
        return Counters(*ffi.unpack(self._counts + slot * _WIDTH, _WIDTH))

    # What comes in.

    def clear(self) -> None:
        """Forget what the last messages left."""
        lib.vp_gate_clear(self._c)

    def take(self, slot: int, message: bytes, wire_bytes: int, now: float) -> None:
        """Take a message that came over a node's link; NOBODY: over none."""
        lib.vp_gate_take(self._c, slot, message, len(message), wire_bytes, now)

    def receive(self, socket: int, now: float) -> int:
        """`clear`, and take a batch from a UDP socket (a file descriptor).

        Datagrams taken, or BLOCKED, UNSUPPORTED or another number below 0 if it failed.
        """
        return int(lib.vp_gate_receive(self._c, socket, now))

    def vote(self, slot: int, prediction: Prediction, wire_bytes: int, now: float) -> bool:
        """Put a prediction into its ballot, or count why not; False if none is open for it."""
        c = ffi.new("vp_prediction *")
        c.request, c.k = prediction.request, len(prediction.entries)
        c.time_quarter_ms = min(65535, round(prediction.time_ms * 4))
        for at, (index, score) in enumerate(prediction.entries):
            c.entries[at].index, c.entries[at].score = index, score
        verdict = lib.vp_gate_vote(self._c, slot, c, wire_bytes, now)
        return bool(verdict != lib.VP_GATE_PASSED)

    def records(self) -> Iterator[Record]:
        """The messages that the last ones left to be read."""
        for at in range(self._c.record_count):
            record = self._c.records[at]
            start = self._c.messages + at * lib.VP_GATE_ROOM
            yield Record(
                record.slot,
                record.verdict == lib.VP_GATE_STALE,
                ffi.unpack(ffi.cast("char *", start), record.size),
                record.wire_bytes,
                _source(record) if record.verdict == lib.VP_GATE_STRANGER else None,
            )

    def releases(self) -> list[Release]:
        """The nodes whose transfers got their vote."""
        return [
            Release(self._c.releases[at].slot, self._c.releases[at].time_quarter_ms / 4000)
            for at in range(self._c.release_count)
        ]

    def touched(self) -> list[int]:
        """The requests, by number, that got votes."""
        count = self._c.touched_count
        return list(ffi.unpack(self._c.touched, count)) if count else []

    # Ballots.

    def open_ballot(self, number: int, ballot: Ballot) -> None:
        """Votes under this number go into `ballot` from now on, which must outlive that."""
        self._c.ballots[number] = ballot.c

    def close_ballot(self, number: int) -> None:
        """Votes under this number are left to be read."""
        self._c.ballots[number] = ffi.NULL

    def ask(self, ballot: Ballot, slots: NDArray[np.intp]) -> None:
        """The nodes at these slots, which the ballot has, are asked."""
        rows = ffi.from_buffer("int64_t[]", np.ascontiguousarray(slots, np.int64))
        lib.vp_gate_ask(self._c, ballot.c, rows, len(slots))

    def can_tell(self, ballot: Ballot) -> bool:
        """Whether one trigger to the group serves all that were asked, and does no harm."""
        return bool(lib.vp_gate_can_tell(self._c, ballot.c) > 1)

    def tell(self, ballot: Ballot, counter: int, size: int, now: float) -> None:
        """A trigger of so many bytes goes to the group, for all that were asked."""
        lib.vp_gate_tell(self._c, ballot.c, counter, size, now)

    # What goes out.

    def send(self, socket: int, datagrams: Iterable[tuple[int, bytes]]) -> int:
        """Send (slot, message) each, in order; how many are done with, UNSUPPORTED if it cannot."""
        pairs = list(datagrams)
        kept = [ffi.from_buffer(message) for _, message in pairs]
        return int(
            lib.vp_gate_send(
                self._c,
                socket,
                ffi.new("uint16_t[]", [slot for slot, _ in pairs]),
                ffi.new("uint8_t *[]", [ffi.cast("uint8_t *", message) for message in kept]),
                ffi.new("uint16_t[]", [len(message) for _, message in pairs]),
                len(pairs),
            )
        )


def _fixed(array: NDArray[Any]) -> NDArray[Any]:
    array.setflags(write=False)
    return array


def _source(record: Any) -> Source:
    return Source(IPv6Address(bytes(record.address)), record.port, record.scope)
