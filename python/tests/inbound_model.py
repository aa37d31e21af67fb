"""What the gateway's C gate does with a message, in Python: for tests that compare the two."""

from __future__ import annotations

from dataclasses import dataclass, field

from variant_parallelism import wire


@dataclass
class ModelNode:
    """A node as the gate knows it. `open`: its votes count without asking Python."""

    id: int
    key: bytes | None
    open: bool = True
    boot: int = 1
    replay: wire.ReplayWindow = field(default_factory=wire.ReplayWindow)
    counts: dict[str, int] = field(default_factory=dict)


@dataclass
class ModelBallot:
    k: int
    asked: set[int]
    votes: dict[int, tuple[tuple[int, int], ...]] = field(default_factory=dict)


@dataclass
class Model:
    fleet: int
    classes: int
    nodes: list[ModelNode]
    ballots: dict[int, ModelBallot]
    counts: dict[str, int] = field(default_factory=dict)

    def take(self, slot: int | None, message: bytes) -> str:
        """What becomes of a message from the link of the node at `slot`: `dropped`, `voted`,
        `passed` to be read, or `stale`."""
        node = None if slot is None else self.nodes[slot]
        self._count(node, "messages_in")
        self._count(node, "bytes_in", len(message))
        try:
            header = wire.peek(message)
        except wire.WireError:
            return self._drop(node, "damaged")
        if node is None or header.fleet != self.fleet or header.node != node.id:
            return self._drop(node, "foreign")
        try:
            payload = wire.verify(message, node.key)
        except wire.WireError as error:
            return self._drop(node, "forged" if error.reason == "forged" else "damaged")
        if not node.replay.accept(header.counter):
            self._count(node, "replayed")
            return "dropped" if node.open else "stale"
        prediction = header.type is wire.MessageType.PREDICTION
        if not (prediction and node.open and header.boot == node.boot):
            return "passed"
        try:
            body = wire.unpack(header.type, payload, self.classes)
        except wire.WireError:
            return self._drop(node, "damaged")
        assert isinstance(body, wire.Prediction) and slot is not None
        return self._vote(slot, node, body)

    def _vote(self, slot: int, node: ModelNode, prediction: wire.Prediction) -> str:
        ballot = self.ballots.get(prediction.request)
        if ballot is None or slot not in ballot.asked:
            return "passed"
        if slot in ballot.votes:
            return self._drop(node, "duplicate")
        if len(prediction.entries) != ballot.k:
            return self._drop(node, "foreign")
        ballot.votes[slot] = prediction.entries
        node.counts["answers"] = node.counts.get("answers", 0) + 1
        return "voted"

    def _drop(self, node: ModelNode | None, name: str) -> str:
        self._count(node, name)
        return "dropped"

    def _count(self, node: ModelNode | None, name: str, amount: int = 1) -> None:
        for counts in (self.counts, *([] if node is None else [node.counts])):
            counts[name] = counts.get(name, 0) + amount
