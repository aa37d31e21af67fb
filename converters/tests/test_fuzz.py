"""Damaged models through the compiler: a clear error, or a correct program."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exactness import KINDS, graph_bytes
from fuzz_corpus import (
    CHANGES,
    Mutant,
    absurd_numbers,
    changed_models,
    damaged,
    nudged,
    places,
    truncated,
)
from fuzzing import accepted, compare, judge, sanitized
from random_graphs import small_graph_draft
from vp_converters import ConversionError
from vp_converters.lowering import lower
from vp_converters.passes import run_passes
from vp_converters.planner import plan_memory
from vp_converters.reader import read_graph


def _smallest(kind: str) -> bytes:
    return min((graph_bytes(kind, str(n)) for n in range(12)), key=len)


def _every(step: int, mutants: Iterator[Mutant]) -> list[Mutant]:
    return list(islice(mutants, 0, None, step))


def _faults(mutants: Sequence[Mutant], folder: Path) -> list[str]:
    return [f"{v.label}: {v.fault}" for v in judge(mutants, folder) if v.fault]


@pytest.mark.parametrize("kind", ["conv_2d", "flatten"])
def test_cut_at_every_number(kind: str, tmp_path: Path, scale: int) -> None:
    mutants = _every(1 if scale > 1 else 4, truncated(kind, _smallest(kind)))
    assert _faults(mutants, tmp_path) == []


@pytest.mark.parametrize("kind", ["conv_2d", "add", "flatten"])
def test_absurd_numbers(kind: str, tmp_path: Path, scale: int) -> None:
    data = _smallest(kind)
    step = 1 if scale > 1 else 40
    mutants = _every(step, absurd_numbers(kind, data)) + _every(step, nudged(kind, data))
    assert _faults(mutants, tmp_path) == []


def _mixed(scale: int) -> Iterator[list[Mutant]]:
    """Batches of damaged files and of files of damaged models."""
    for round_ in range(scale):
        rng = random.Random(f"fuzz {round_}")
        batch = list(changed_models(rng, 320, f"{round_}"))
        for kind in KINDS:
            label = f"{kind}-fuzz-{round_}"
            batch += damaged(label, graph_bytes(kind, label), rng, 16)
        yield batch


def test_what_is_accepted_is_correct(tmp_path: Path, scale: int) -> None:
    for batch in _mixed(scale):
        verdicts = judge(batch, tmp_path)
        assert [f"{v.label}: {v.fault}" for v in verdicts if v.fault] == []
        models = accepted(verdicts, tmp_path)
        assert len(models) > len(batch) // 20
        compared, differing = compare(models, sanitized)
        assert compared > len(models) // 2
        labels = [batch[int(re.sub(r"\D", "", name))].label for name in differing]
        assert labels == []


@given(rng=st.randoms(note_method_calls=False, use_true_random=False))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_faulty_change_shrinks(rng: random.Random) -> None:
    draft = small_graph_draft(rng)
    for _ in range(rng.randint(1, 3)):
        draft = rng.choice(CHANGES)(draft, rng)
    try:
        plan_memory(lower(run_passes(read_graph(draft.build()))))
    except ConversionError as error:
        assert str(error).isprintable()


def test_the_corpus_reaches_every_part_of_a_file() -> None:
    data = _smallest("conv_2d")
    assert len(places(data)) > 150
    kinds = {type(_outcome(m.data)) for m in islice(changed_models(random.Random(7), 60), 60)}
    assert kinds == {str, type(None)}


def _outcome(data: bytes) -> str | None:
    try:
        read_graph(data)
    except ConversionError as error:
        return str(error)
    return None
