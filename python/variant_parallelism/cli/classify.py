"""`vp classify`: send images to a fleet and print its answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer


def command(
    fleet: Path = typer.Argument(..., help="The fleet file."),
    images: list[Path] = typer.Argument(..., help="PNG or JPEG files."),
    k: int = typer.Option(
        None, "--k", help="Entries of each node's answer.", show_default="the fleet's"
    ),
    deadline_ms: float = typer.Option(
        None, "--deadline-ms", help="Longest wait for an answer.", show_default="the fleet's"
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON list."),
) -> None:
    """Use the running gateway of this fleet, or else run one for the duration."""
    import asyncio
    import json

    from variant_parallelism.errors import VpError
    from variant_parallelism.fleet import load_fleet
    from variant_parallelism.gateway.client import find_gateway
    from variant_parallelism.gateway.program import classify_files
    from variant_parallelism.images import read_image

    loaded = load_fleet(fleet)
    for path in images:
        read_image(path, loaded.manifest.input)
    client = find_gateway(loaded)
    if client is not None:
        deadline = loaded.table.deadline_ms if deadline_ms is None else deadline_ms
        answers = [client.classify(path, k, deadline) for path in images]
        down = {
            node["id"]: f"{node['state']}: {node['reason']}"
            for node in client.nodes()
            if node["state"] != "up"
        }
    else:
        answers, down = asyncio.run(classify_files(loaded, images, k, deadline_ms))
    if as_json:
        named = [
            {"image": str(path), **answer} for path, answer in zip(images, answers, strict=True)
        ]
        typer.echo(json.dumps(named, indent=1))
    else:
        for path, answer in zip(images, answers, strict=True):
            _print(path, answer, loaded.manifest.classes, down)
    unanswered = [
        str(path) for path, answer in zip(images, answers, strict=True) if answer["class"] is None
    ]
    if unanswered:
        raise VpError(f"no node answered for {', '.join(unanswered)}; see the reasons above")


def _print(path: Path, answer: dict[str, Any], classes: list[str], down: dict[int, str]) -> None:
    if answer["class"] is None:
        typer.echo(f"{path}: no answer after {answer['latency_ms']:.0f} ms")
    else:
        typer.echo(
            f"{path}: {answer['name']}  score {answer['score']:.3f}  {answer['latency_ms']:.0f} ms"
        )
    for vote in answer["votes"]:
        entries = ", ".join(
            f"{classes[index]} {(score + 128) / 256:.3f}" for index, score in vote["entries"]
        )
        typer.echo(
            f"  node {vote['node']} ({vote['variant']}): {entries}  {vote['latency_ms']:.0f} ms"
        )
    for node in answer["missing"]:
        reason = answer["errors"].get(str(node)) or down.get(node) or "late"
        typer.echo(f"  node {node}: no answer ({reason})")
