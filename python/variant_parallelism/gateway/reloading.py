"""What of a fleet file can change while its gateway runs, and what a change means for its nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet, NodeTable
from variant_parallelism.gateway.gate import NOBODY

_FIXED: dict[str, Callable[[Fleet], object]] = {
    "name": lambda fleet: fleet.table.name,
    "id": lambda fleet: fleet.table.id,
    "key_file": lambda fleet: fleet.key,
    "gateway.listen": lambda fleet: fleet.table.gateway.listen,
    "gateway.http": lambda fleet: fleet.table.gateway.http,
    "network.gateway": lambda fleet: fleet.table.network and fleet.table.network.gateway,
    "network.multicast": lambda fleet: fleet.table.network and fleet.table.network.multicast,
    "workers": lambda fleet: fleet.table.workers,
    "manifest: classes": lambda fleet: fleet.manifest.classes,
    "manifest: input": lambda fleet: fleet.manifest.input,
}
"""What ports, keys, state and callers hang on."""


def check_reload(old: Fleet, new: Fleet, slots: int = 0) -> None:
    """VpError, naming the first key, if a gateway of `old` cannot become one of `new`; so many
    slots of its gate are taken."""
    for key, value in _FIXED.items():
        if value(old) != value(new):
            raise VpError(f"{new.path}: {key}: changed; restart to apply")
    told = changes(old, new)
    if slots + len(told.added) + len(told.replaced) > NOBODY:
        raise VpError(
            f"{new.path}: nodes: over {NOBODY} were added or changed since the start; restart to "
            "apply"
        )
    check_emulated(new)


def check_emulated(fleet: Fleet) -> None:
    """VpError if a node has no address yet because it is emulated."""
    for node in fleet.nodes:
        if node.emulated is not None:
            raise VpError(
                f"node {node.id} is emulated: run `vp emulate {fleet.path}` and use the "
                "fleet file that it writes"
            )


@dataclass(frozen=True, slots=True)
class Changes:
    """Node ids by what becomes of them; those in none of the lists go on as they are."""

    removed: tuple[int, ...]
    added: tuple[int, ...]
    moved: tuple[int, ...]
    """The same node, reached in another way."""
    replaced: tuple[int, ...]
    """Another node of the same id: it runs something else."""

    @property
    def closing(self) -> list[int]:
        """Whose ways are closed."""
        return [*self.removed, *self.moved, *self.replaced]

    @property
    def opening(self) -> list[int]:
        """Whose ways are opened."""
        return [*self.added, *self.moved, *self.replaced]

    def __str__(self) -> str:
        parts = [
            f"node{'s' if len(nodes) > 1 else ''} {', '.join(map(str, nodes))} {what}"
            for nodes, what in (
                (self.removed, "removed"),
                (self.added, "added"),
                (self.moved, "moved"),
                (self.replaced, "changed"),
            )
            if nodes
        ]
        return ", ".join(parts) or "the same nodes"


def changes(old: Fleet, new: Fleet) -> Changes:
    """What happens to the nodes of a gateway when `new` takes the place of `old`."""
    before = {node.id: node for node in old.nodes}
    after = {node.id: node for node in new.nodes}
    kept = [node for node in after if node in before]

    def is_same(node: int) -> bool:
        return before[node].board == after[node].board and old.variant_of(
            before[node]
        ) == new.variant_of(after[node])

    return Changes(
        tuple(node for node in before if node not in after),
        tuple(node for node in after if node not in before),
        tuple(node for node in kept if is_same(node) and _way(before[node]) != _way(after[node])),
        tuple(node for node in kept if not is_same(node)),
    )


def _way(node: NodeTable) -> tuple[object, ...]:
    return node.serial, node.baud, node.udp
