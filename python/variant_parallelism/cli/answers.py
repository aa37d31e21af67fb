"""How `vp classify` and `vp trigger` print answers."""

from __future__ import annotations

from typing import Any

import typer


class AnswerList:
    """One JSON list, whole also if only some of the answers come."""

    def __init__(self, key: str) -> None:
        """`key` is the one under which each element says what it answers."""
        self._key = key
        self._count = 0

    def add(self, what: str | int, answer: dict[str, Any], down: dict[int, str]) -> None:
        """An answer; `down` says of each node that is not up, why."""
        import json

        element = json.dumps({self._key: what, **answer}, indent=1)
        typer.echo(("," if self._count else "[") + "\n" + element, nl=False)
        self._count += 1

    def end(self) -> None:
        """Nothing more comes."""
        if self._count:
            typer.echo("\n]")


class AnswerLines:
    """A line an answer and below it a line a node."""

    def __init__(self, classes: list[str]) -> None:
        self._classes = classes

    def add(self, what: str | int, answer: dict[str, Any], down: dict[int, str]) -> None:
        """As in AnswerList."""
        if answer["class"] is None:
            typer.echo(f"{what}: no answer after {answer['latency_ms']:.0f} ms")
        else:
            typer.echo(
                f"{what}: {answer['name']}  score {answer['score']:.3f}  "
                f"{answer['latency_ms']:.0f} ms"
            )
        for vote in answer["votes"]:
            entries = ", ".join(
                f"{self._classes[index]} {(score + 128) / 256:.3f}"
                for index, score in vote["entries"]
            )
            typer.echo(
                f"  node {vote['node']} ({vote['variant']}): {entries}  {vote['latency_ms']:.0f} ms"
                f"{'' if vote['counted'] else '  (in quarantine, does not count)'}"
            )
        for node in answer["missing"]:
            reason = answer["errors"].get(str(node)) or down.get(node) or "late"
            typer.echo(f"  node {node}: no answer ({reason})")
        for node in answer["spared"]:
            typer.echo(f"  node {node}: not asked, the others agreed")

    def end(self) -> None:
        """Nothing more comes."""
