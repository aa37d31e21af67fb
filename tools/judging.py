#!/usr/bin/env python3
"""Measures the ways to combine votes and writes the tables of docs/judging.md anew.

Usage: .venv/bin/python tools/judging.py [--data FOLDER_OR_ARCHIVE] [--images N]

`models/digits` is measured on the test split of scikit-learn's digits, `models/cifar10-tiny` on
that of the image folder or archive `--data`; without it, its tables stay as they are. The nodes'
answers are computed on this machine with the node's own C, so they are those of the boards.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from benchmarks import with_block
from numpy.typing import NDArray

from variant_parallelism.aggregate import Combiner, Method, make_combiner, top_k, winner
from variant_parallelism.errors import VpError
from variant_parallelism.gateway.judging.judge import unanimous
from variant_parallelism.manifest import Manifest, load_manifest
from variant_parallelism.reference import FamilyReference
from variant_parallelism.training.datasets import load_dataset

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENT = REPOSITORY / "docs" / "judging.md"
K = 2
NODES = (5, 100, 1000)
EVERYONE_EVERY = 20
_ANSWERS = 5
METHODS: tuple[tuple[Method, int | None], ...] = (
    ("vp", None),
    ("vip", None),
    ("trimmed-mean", 1),
    ("median", 1),
    ("agreement", 1),
    ("trimmed-mean", 2),
    ("median", 2),
    ("agreement", 2),
)
LIARS = ("random", "constant", "colluding")


@dataclass(frozen=True)
class Votes:
    """What V nodes answer to N images: classes int (N, V, k), scores int8 (N, V, k)."""

    manifest: Manifest
    labels: NDArray[np.int64]
    classes: NDArray[np.int64]
    scores: NDArray[np.int8]

    @property
    def weights(self) -> list[float]:
        return [variant.weight for variant in self.manifest.variants]

    @property
    def class_count(self) -> int:
        return len(self.manifest.classes)


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the tables of docs/judging.md anew.")
    parser.add_argument("--data", help="CIFAR-10 as an image folder or an archive of one")
    parser.add_argument("--images", type=int, default=2000, help="most test images of a model")
    options = parser.parse_args()
    blocks = {"cost": cost_table()}
    try:
        for name, source in (("digits", "digits"), ("cifar10-tiny", options.data)):
            if source is None:
                print(f"no data for {name}: give --data; its tables stay as they are")
                continue
            votes = recorded(REPOSITORY / "models" / name, source, options.images)
            blocks[name] = liar_table(votes)
            blocks[f"{name}-early"] = early_table(votes)
    except VpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, table in blocks.items():
        print(f"{name}\n{table}")
        text = with_block(text, name, table)
    DOCUMENT.write_text(text, encoding="utf-8")
    return 0


def recorded(folder: Path, source: str, most: int) -> Votes:
    """The votes of a model's variants on its test split, or on `most` images of all over it."""
    manifest = load_manifest(folder / "manifest.json")
    dataset = load_dataset(source, channels=manifest.input.channels)
    total = len(dataset.test_images)
    chosen = np.linspace(0, total - 1, min(most, total)).astype(int)
    family = FamilyReference(manifest, folder)
    scores = np.stack(
        [
            np.stack([family[variant.name].scores(image) for image in dataset.test_images[chosen]])
            for variant in manifest.variants
        ],
        axis=1,
    )
    classes, best = top_k(scores, K)
    return Votes(manifest, dataset.test_labels[chosen], classes, best)


# Cost.


def cost_table() -> str:
    """Microseconds an answer."""
    rows = []
    for method, liars in METHODS:
        if liars == 1:
            continue
        name = f"`{method}`"
        times = [microseconds(method, nodes) for nodes in NODES]
        rows.append([name, *(f"{value:,.0f}" for value in times)])
        print(f"{name}: {times}", flush=True)
    return markdown(["combine", *(f"{nodes:,} nodes" for nodes in NODES)], rows)


def microseconds(method: Method, nodes: int) -> float:
    """Of one combination of so many votes over 10 classes, half of which agree: the best of 100
    short runs, which others on this machine disturb least."""
    random = np.random.default_rng(1)
    combiner = make_combiner(method, random.uniform(0.3, 1, nodes), 10)
    vectors = random.integers(-128, 20, (_ANSWERS, nodes, 10)).astype(np.int8)
    vectors[:, : nodes // 2, 3] = 100
    classes, scores = top_k(vectors, K)
    who = np.arange(nodes)
    best = float("inf")
    for _ in range(100):
        begin = time.perf_counter()
        for answer in range(_ANSWERS):
            combiner(who, classes[answer], scores[answer])
        best = min(best, (time.perf_counter() - begin) / _ANSWERS)
    return best * 1e6


# Liars.


def liar_table(votes: Votes) -> str:
    """Accuracy by method and kind of liars, the mean over all choices of who lies.

    The last column counts the images where all honest nodes agree and the answer was another, over
    all choices of at most `liars` liars.
    """
    heads = ["combine", "liars", "none lies"]
    heads += [f"{count} {kind}" for kind in LIARS for count in (1, 2)]
    rows = []
    for method, liars in METHODS:
        combiner = make_combiner(method, votes.weights, votes.class_count, liars)
        row = [f"`{method}`", "" if liars is None else str(liars)]
        row.append(percent(accuracy(combiner, votes)))
        turned = 0
        for kind, count in itertools.product(LIARS, (1, 2)):
            shares = []
            for lying in itertools.combinations(range(len(votes.weights)), count):
                besieged = with_liars(votes, lying, kind)
                answers = answered(combiner, besieged)
                shares.append(float((answers == votes.labels).mean()))
                if liars is None or count <= liars:
                    turned += turned_answers(votes, lying, answers)
            row.append(percent(float(np.mean(shares))))
        rows.append([*row, f"{turned:,}"])
    return markdown([*heads, "turned"], rows)


def with_liars(votes: Votes, lying: tuple[int, ...], kind: str) -> Votes:
    """The same votes, but for the nodes that lie.

    `random`: two classes at random with random scores. `constant`: the first class with the highest
    score. `colluding`: all liars name one class with the highest score, for each image the wrong
    one that the honest nodes' scaled sum has second.
    """
    random = np.random.default_rng(7)
    classes, scores = votes.classes.copy(), votes.scores.copy()
    images = len(votes.labels)
    surest = np.array([127, -128], np.int8)
    if kind == "random":
        for node in lying:
            drawn = random.integers(-128, 128, (images, votes.class_count)).astype(np.int8)
            classes[:, node], scores[:, node] = top_k(drawn, K)
    elif kind == "constant":
        classes[:, lying], scores[:, lying] = np.arange(K), surest
    else:
        honest = np.array([node for node in range(len(votes.weights)) if node not in lying])
        combiner = make_combiner("vp", votes.weights, votes.class_count)
        for image in range(images):
            sums = combiner(honest, votes.classes[image, honest], votes.scores[image, honest])
            sums[votes.labels[image]] = -1
            wrong = int(winner(sums))
            other = 0 if wrong else 1
            classes[image, lying], scores[image, lying] = (wrong, other), surest
    return Votes(votes.manifest, votes.labels, classes, scores)


def turned_answers(honest: Votes, lying: tuple[int, ...], answers: NDArray[np.int64]) -> int:
    """Images where the nodes that do not lie have one first class and the answer is another."""
    first = np.delete(honest.classes[:, :, 0], lying, axis=1)
    agreed = (first == first[:, :1]).all(axis=1)
    return int(np.count_nonzero(agreed & (answers != first[:, 0])))


def answered(combiner: Combiner, votes: Votes) -> NDArray[np.int64]:
    nodes = np.arange(len(votes.weights))
    return np.array(
        [
            int(winner(combiner(nodes, classes, scores)))
            for classes, scores in zip(votes.classes, votes.scores, strict=True)
        ]
    )


def accuracy(combiner: Combiner, votes: Votes) -> float:
    return float((answered(combiner, votes) == votes.labels).mean())


# Early exit.


def early_table(votes: Votes) -> str:
    """What `first` and `confidence` save, and what it costs, with `combine = "vp"`."""
    macs = np.array([variant.macs for variant in votes.manifest.variants])
    cheapest = np.argsort(macs, kind="stable")
    combiner = make_combiner("vp", votes.weights, votes.class_count)
    whole = answered(combiner, votes)
    rows = [
        ["all", "", "0.0 %", "0.0 %", "0.0 %", percent(float((whole == votes.labels).mean())), ""]
    ]
    for first, confidence in itertools.product((1, 2, 3), (0.8, 0.9, 0.95)):
        asked = np.sort(cheapest[:first])
        early = np.array(list(early_answers(combiner, votes, asked, confidence)))
        answers = np.where(early >= 0, early, whole)
        right = float((answers == votes.labels).mean())
        share = float((early >= 0).mean())
        spared = 1 - first / len(macs)
        saved = 1 - macs[asked].sum() / macs.sum()
        change = 100 * (right - float((whole == votes.labels).mean()))
        rows.append(
            [
                str(first),
                f"{confidence:g}",
                percent(share),
                percent(share * spared),
                percent(share * float(saved)),
                percent(right),
                f"{change:+.2f}",
            ]
        )
    heads = ["first", "confidence", "answered early", "questions spared", "MACs spared"]
    return markdown([*heads, "right", "change"], rows)


def early_answers(
    combiner: Combiner, votes: Votes, asked: NDArray[np.int64], confidence: float
) -> Iterator[int]:
    """The answer of the nodes asked first, or -1 where the others must be asked, too."""
    for image, (classes, scores) in enumerate(zip(votes.classes, votes.scores, strict=True)):
        few = combiner(asked, classes[asked], scores[asked])
        best = int(winner(few))
        agreed = unanimous(classes[asked, 0], asked.tolist()) and few[best] >= confidence
        yield best if agreed and image % EVERYONE_EVERY else -1


# Tables.


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def markdown(heads: list[str], rows: list[list[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
