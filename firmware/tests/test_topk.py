"""The shared vectors of the top-k compressor (ctest `topk`) against Python's own sort."""

from __future__ import annotations

import json
from pathlib import Path

VECTORS = Path(__file__).resolve().parent / "vectors" / "topk.json"


def test_vectors_are_what_a_sort_says() -> None:
    for case in json.loads(VECTORS.read_text()):
        scores = case["scores"]
        order = sorted(range(len(scores)), key=lambda i: (-scores[i], i))
        assert case["indices"] == order[: case["k"]], case["name"]


def test_vectors_stand_one_a_line() -> None:
    """As the C test reads them."""
    lines = [line for line in VECTORS.read_text().splitlines() if "{" in line]
    assert len(lines) == len(json.loads(VECTORS.read_text()))
