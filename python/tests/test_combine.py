"""The combination of answers, with the traps that published descriptions lead into."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from variant_parallelism.aggregate import (
    combine_logits,
    combine_mean,
    combine_vp,
    probabilities,
    scatter,
    top_k,
    variant_weights,
    winner,
)

INT8_VECTORS = hnp.arrays(np.int8, st.integers(1, 12), elements=st.integers(-128, 127))


def test_top_k_is_sorted_and_ties_go_to_the_lower_index() -> None:
    indices, scores = top_k(np.array([3, 9, -128, 9, 3], np.int8), 4)
    assert indices.tolist() == [1, 3, 0, 4]
    assert scores.tolist() == [9, 9, 3, 3]
    assert scores.dtype == np.int8


@settings(deadline=None)
@given(INT8_VECTORS, st.data())
def test_top_k_equals_a_sort_by_score_and_index(vector: np.ndarray, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(vector)))
    expected = sorted(range(len(vector)), key=lambda i: (-int(vector[i]), i))[:k]
    indices, scores = top_k(vector, k)
    assert indices.tolist() == expected
    assert scores.tolist() == [int(vector[i]) for i in expected]


@pytest.mark.parametrize("k", [0, 4, -1])
def test_top_k_rejects_k_outside_the_classes(k: int) -> None:
    with pytest.raises(ValueError, match="is not in 1"):
        top_k(np.zeros(3, np.int8), k)


@settings(deadline=None)
@given(INT8_VECTORS)
def test_all_entries_scattered_give_the_vector_back(vector: np.ndarray) -> None:
    indices, scores = top_k(vector, len(vector))
    restored = scatter(indices, probabilities(scores), len(vector))
    assert np.array_equal(restored, probabilities(vector))


def test_scatter_puts_absent_classes_at_zero() -> None:
    assert scatter([2, 0], [0.5, 0.25], 4).tolist() == [0.25, 0.0, 0.5, 0.0]


def test_scatter_rejects_a_class_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match=r"0 .. 3"):
        scatter([4], [0.5], 4)
    with pytest.raises(ValueError, match=r"0 .. 3"):
        scatter([-1], [0.5], 4)


def test_probabilities_span_the_int8_range() -> None:
    assert probabilities(np.array([-128, 0, 127], np.int8)).tolist() == [0.0, 0.5, 255 / 256]


def test_weights_follow_resolution_and_width() -> None:
    weights = variant_weights([96, 192], [0.35, 0.7], alpha=2.0)
    assert weights == pytest.approx([0.5, 4.0])
    equal_widths = variant_weights([96, 128, 160], [0.35] * 3)
    assert equal_widths == pytest.approx([0.6, 0.8, 1.0])


def test_scaled_sum_by_hand() -> None:
    vectors = [[0.6, 0.4, 0.0], [0.0, 0.7, 0.3]]
    assert combine_vp(vectors, [0.5, 1.0]) == pytest.approx([0.3, 0.9, 0.3])
    assert combine_mean(vectors) == pytest.approx([0.3, 0.55, 0.15])


def test_a_batch_combines_like_its_images() -> None:
    random = np.random.default_rng(5)
    vectors = random.random((3, 4, 7))
    weights = [0.2, 0.5, 1.0]
    batch = combine_vp(vectors, weights)
    for image in range(4):
        assert np.array_equal(batch[image], combine_vp(vectors[:, image], weights))


def test_ties_of_the_sum_go_to_the_lower_class() -> None:
    assert winner(combine_vp([[0.0, 0.5, 0.5]], [1.0])) == 1


def test_no_answer_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one answer"):
        combine_vp(np.zeros((0, 3)), [])


TRAP = np.array([-4.0, -3.0, -1.0, -5.0, -6.0])


def test_trap_logits_scattered_into_zeros_lose_the_true_winner() -> None:
    indices, logits = top_k(TRAP, 2)
    wrong = np.exp(scatter(indices, logits, 5))
    assert winner(wrong) != 2
    for order in ("survivors", "logits"):
        assert winner(combine_logits(indices[None], logits[None], [1.0], 5, order)) == 2
    softmax = np.exp(TRAP) / np.exp(TRAP).sum()
    indices, scores = top_k(softmax, 2)
    assert winner(combine_vp(scatter(indices, scores, 5)[None], [1.0])) == 2


def test_trap_softmax_over_one_survivor_is_always_certain() -> None:
    indices, logits = top_k(np.stack([TRAP, TRAP * 0.01]), 1)
    votes = combine_logits(indices, logits, [0.5, 1.0], 5, "survivors")
    assert votes[2] == pytest.approx(1.5)
    softmax = np.exp(TRAP * 0.01) / np.exp(TRAP * 0.01).sum()
    _, score = top_k(softmax, 1)
    assert score[0] < 0.25


def test_logits_order_is_the_limit_of_a_very_negative_absent_logit() -> None:
    random = np.random.default_rng(11)
    weights = np.array([0.6, 0.8, 1.0])
    for _ in range(50):
        indices, logits = top_k(random.normal(size=(3, 6)), 2)
        ours = combine_logits(indices, logits, weights, 6, "logits")
        assert ours.sum() == pytest.approx(1.0)
        approximation = combine_vp(scatter(indices, logits, 6, absent=-1e6), weights)
        assert winner(ours) == winner(approximation)
