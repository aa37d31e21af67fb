"""What lying nodes can and cannot do to an answer, method by method."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from variant_parallelism.aggregate import (
    ROBUST,
    Combiner,
    capped_weights,
    combine_mean,
    combine_vp,
    make_combiner,
    most_liars,
    probabilities,
    scatter,
    top_k,
    winner,
)

Vote = list[tuple[int, int]]
WEIGHTS = st.floats(0.01, 100, allow_subnormal=False)
SLOW_MACHINE = [HealthCheck.too_slow]
SCORES = st.sampled_from([-128, -127, 126, 127]) | st.integers(-128, 127)


def answer(combiner: Combiner, votes: list[Vote], **options: Any) -> int:
    return int(winner(combined(combiner, votes, **options)))


def combined(combiner: Combiner, votes: list[Vote], **options: Any) -> NDArray[np.float64]:
    table = np.array(votes)
    nodes = options.pop("nodes", np.arange(len(votes)))
    return combiner(nodes, table[..., 0], table[..., 1].astype(np.int8), **options)


@st.composite
def any_vote(draw: st.DrawFn, classes: int, k: int) -> Vote:
    """What a decoder lets through: any k classes with any scores, extreme ones more often."""
    drawn = draw(st.lists(SCORES, min_size=classes, max_size=classes))
    scores = np.array(drawn, np.int8)
    return [(int(c), int(s)) for c, s in zip(*top_k(scores, k), strict=True)]


@st.composite
def vote_for(draw: st.DrawFn, right: int, classes: int, k: int) -> Vote:
    """A vote with `right` first, at times by a tie or by one step of the score."""
    others = draw(any_vote(classes, classes))
    rest = [entry for entry in others if entry[0] != right]
    top = max([score for _, score in rest], default=-128)
    tied = any(score == top and index < right for index, score in rest)
    lowest = top + 1 if tied else top
    if lowest > 127:
        rest = [(index, min(score, 126)) for index, score in rest]
        lowest = 127
    vote = [*rest, (right, draw(st.integers(lowest, 127) | st.just(lowest)))]
    return sorted(vote, key=lambda entry: (-entry[1], entry[0]))[:k]


@st.composite
def besieged(draw: st.DrawFn) -> tuple[int, int, list[Vote], list[float], int]:
    """Liars, the right class, votes in any order, capacity weights, classes."""
    liars = draw(st.integers(0, 4))
    honest = liars + 1 + draw(st.integers(0, 3))
    classes = draw(st.integers(2, 9))
    k = draw(st.integers(1, classes))
    right = draw(st.integers(0, classes - 1))
    colluding = draw(st.booleans())
    lies = [draw(any_vote(classes, k))] * liars
    if not colluding:
        lies = [draw(any_vote(classes, k)) for _ in range(liars)]
    votes = [*lies, *(draw(vote_for(right, classes, k)) for _ in range(honest))]
    order = draw(st.permutations(range(len(votes))))
    weights = draw(st.lists(WEIGHTS, min_size=len(votes), max_size=len(votes)))
    return liars, right, [votes[index] for index in order], weights, classes


@pytest.mark.parametrize("method", ROBUST)
@settings(deadline=None, suppress_health_check=SLOW_MACHINE, max_examples=150)
@given(case=besieged())
def test_f_liars_among_2f_plus_1_do_not_change_what_the_honest_agree_on(
    method: Any, case: tuple[int, int, list[Vote], list[float], int]
) -> None:
    liars, right, votes, weights, classes = case
    for allowed in {liars, most_liars(len(votes))}:
        combiner = make_combiner(method, weights, classes, allowed)
        scores = combined(combiner, votes)
        assert int(winner(scores)) == right
        assert scores.shape == (classes,)
        assert scores.min() >= 0 and scores.max() <= 1


@pytest.mark.parametrize("method", ROBUST)
@settings(deadline=None, suppress_health_check=SLOW_MACHINE, max_examples=30)
@given(case=besieged(), data=st.data())
def test_so_it_is_when_other_nodes_of_the_fleet_are_silent(
    method: Any, case: tuple[int, int, list[Vote], list[float], int], data: st.DataObject
) -> None:
    _, right, votes, weights, classes = case
    silent = data.draw(st.lists(WEIGHTS, max_size=3))
    combiner = make_combiner(method, [*silent, *weights], classes)
    nodes = np.arange(len(silent), len(silent) + len(votes))
    assert answer(combiner, votes, nodes=nodes) == right


@pytest.mark.parametrize("method", ["vp", "vip"])
def test_one_liar_turns_a_sum(method: Any) -> None:
    votes = [[(3, -80), (4, -90)], [(3, -80), (5, -90)], [(7, 127), (3, -128)]]
    assert answer(make_combiner(method, [1, 1, 1], 10), votes) == 7
    for robust in ROBUST:
        assert answer(make_combiner(robust, [1, 1, 1], 10), votes) == 3


def test_the_median_of_plain_scores_would_be_turned_by_one_liar() -> None:
    votes = [[(0, -38), (1, -51)], [(0, 0), (1, -13)], [(1, 127), (2, -128)]]
    table = np.array(votes)
    plain = scatter(table[..., 0], probabilities(table[..., 1].astype(np.int8)), 3)
    assert int(winner(np.median(plain, axis=0))) == 1
    assert answer(make_combiner("median", [1, 1, 1], 3), votes) == 0


def test_a_heavy_liar_would_turn_a_median_with_uncapped_weights() -> None:
    votes = [[(2, 0)], [(2, 0)], [(5, 127)]]
    weights = [0.2, 0.2, 1.0]
    assert answer(make_combiner("median", weights, 6, liars=0), votes) == 5
    assert answer(make_combiner("median", weights, 6, liars=1), votes) == 2


def test_more_liars_than_allowed_for_turn_the_answer() -> None:
    lies = [[(5, 127), (2, -128)]] * 2
    votes = [[(2, 10), (5, 5)]] * 3 + lies
    assert answer(make_combiner("trimmed-mean", np.ones(5), 6, liars=1), votes) == 5
    for method in ROBUST:
        assert answer(make_combiner(method, np.ones(5), 6, liars=2), votes) == 2


@pytest.mark.parametrize("method", ROBUST)
def test_where_the_honest_differ_a_liar_can_decide(method: Any) -> None:
    votes = [[(1, 90), (2, 0)], [(2, 90), (1, 0)]]
    combiner = make_combiner(method, [1, 1, 1], 4)
    assert {answer(combiner, [*votes, [(lie, 127), (3, -128)]]) for lie in (1, 2)} == {1, 2}


@pytest.mark.parametrize("method", ROBUST)
def test_a_silent_honest_node_takes_the_majority_with_it(method: Any) -> None:
    """Three nodes withstand one liar; two of them withstand none."""
    combiner = make_combiner(method, [1.0, 1.0, 1.0], 4, liars=1)
    honest, lie = [(1, 0), (2, -100)], [(3, 127), (2, -128)]
    assert answer(combiner, [honest, honest, lie]) == 1
    assert answer(combiner, [honest, lie]) == 3


@settings(deadline=None, suppress_health_check=SLOW_MACHINE, max_examples=30)
@given(case=besieged())
def test_the_papers_methods_are_those_of_combine(
    case: tuple[int, int, list[Vote], list[float], int],
) -> None:
    _, _, votes, weights, classes = case
    table = np.array(votes)
    vectors = scatter(table[..., 0], probabilities(table[..., 1].astype(np.int8)), classes)
    vp = combined(make_combiner("vp", weights, classes), votes)
    assert np.allclose(vp, combine_vp(vectors, weights) / sum(weights), atol=1e-12)
    vip = combined(make_combiner("vip", weights, classes), votes)
    assert np.allclose(vip, combine_mean(vectors), atol=1e-12)


@settings(deadline=None, suppress_health_check=SLOW_MACHINE)
@given(weights=st.lists(WEIGHTS, min_size=1, max_size=12), liars=st.integers(0, 6))
def test_capped_weights_let_no_f_outweigh_the_others(weights: list[float], liars: int) -> None:
    capped = capped_weights(weights, liars)
    few = min(liars, most_liars(len(weights)))
    ranked = np.sort(capped)
    assert ranked[: len(weights) - few].sum() > ranked[len(weights) - few :].sum()
    assert capped.mean() == pytest.approx(1)
    assert (capped > 0).all()
    assert (np.diff(capped[np.argsort(weights)]) >= -1e-9).all(), "the order stays"


def test_weights_that_need_no_cap_stay() -> None:
    assert capped_weights([2.0, 2.5, 3.0], 1).tolist() == pytest.approx([0.8, 1.0, 1.2])


def test_trust_decides_only_where_there_is_no_majority() -> None:
    votes = [[(1, 90)], [(2, 100)]]
    combiner = make_combiner("agreement", [1.0, 1.0, 1.0], 4)
    assert answer(combiner, votes) == 2
    assert answer(combiner, votes, trust=np.array([1.0, 0.2])) == 1
    agreed = [[(1, 90)], [(1, 90)], [(2, 127)]]
    assert answer(combiner, agreed, trust=np.array([0.1, 0.1, 1.0])) == 1


def test_classes_that_nobody_named_cost_nothing_and_win_nothing() -> None:
    combiner = make_combiner("median", np.ones(3), 60_000)
    scores = combined(combiner, [[(59_999, -128)], [(59_999, -128)], [(7, 127)]])
    assert int(winner(scores)) == 59_999


@pytest.mark.parametrize(("nodes", "liars"), [(2, 1), (1, 1), (4, 2), (3, -1)])
def test_a_fleet_too_small_for_its_liars_is_refused(nodes: int, liars: int) -> None:
    with pytest.raises(ValueError, match=f"{nodes} nodes withstand at most"):
        make_combiner("trimmed-mean", np.ones(nodes), 3, liars)


def test_votes_that_do_not_fit_are_refused() -> None:
    combiner = make_combiner("vp", np.ones(3), 4)
    with pytest.raises(ValueError, match="votes of shapes"):
        combiner(np.zeros(0, int), np.zeros((0, 2), int), np.zeros((0, 2), np.int8))
    with pytest.raises(ValueError, match="2 votes but nodes"):
        combiner(np.zeros(1, int), np.zeros((2, 2), int), np.zeros((2, 2), np.int8))
    with pytest.raises(ValueError, match="positive"):
        capped_weights([1, 0], 0)
