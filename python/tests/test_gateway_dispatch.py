"""One image's way to one node, step by step."""

from __future__ import annotations

import itertools

import pytest

from variant_parallelism.gateway.dispatch import WINDOW, Chunk, Timing, Transfer
from variant_parallelism.wire import Sack


def numbers(chunks: list[Chunk]) -> list[int | None]:
    return [chunk.number for chunk in chunks]


def sack(total: int, missing: set[int]) -> Sack:
    """The report of a node that has all chunks but `missing`."""
    ranges: list[tuple[int, int]] = []
    for number in sorted(missing):
        if ranges and sum(ranges[-1]) == number:
            ranges[-1] = (ranges[-1][0], ranges[-1][1] + 1)
        else:
            ranges.append((number, 1))
    return Sack(1, total - len(missing), tuple(ranges))


def test_windows_follow_reports() -> None:
    transfer = Transfer(8, Timing(None), 0.0)
    first = transfer.due(0.0)
    assert numbers(first) == [0, 1, 2, 3, 4, 5]
    assert [chunk.report for chunk in first] == [False] * 5 + [True]
    assert transfer.due(0.001) == []
    transfer.acknowledge(sack(8, {6, 7}), 1, 0.002)
    assert transfer.due(0.002) == [Chunk(6, False, False), Chunk(7, True, False)]
    transfer.acknowledge(sack(8, set()), 2, 0.004)
    assert transfer.completed
    assert transfer.due(0.004) == []


def test_what_something_sent_later_overtook_is_lost() -> None:
    transfer = Transfer(8, Timing(None), 0.0)
    transfer.due(0.0)
    transfer.acknowledge(sack(8, {2, 6, 7}), 1, 0.002)
    assert transfer.due(0.002) == [
        Chunk(2, False, True),
        Chunk(6, False, False),
        Chunk(7, True, False),
    ]


def test_what_was_sent_last_may_still_be_on_its_way() -> None:
    transfer = Transfer(6, Timing(None), 0.0)
    transfer.due(0.0)
    transfer.acknowledge(sack(6, {4, 5}), 1, 0.002)
    assert transfer.due(0.002) == []
    assert transfer.flying == {4, 5}
    assert numbers(transfer.due(transfer.wake)) == [None]
    transfer.acknowledge(sack(6, {4, 5}), 2, transfer.wake + 1)
    assert transfer.due(transfer.wake) == [Chunk(4, False, True), Chunk(5, True, True)]


def test_a_report_that_was_overtaken_is_ignored() -> None:
    transfer = Transfer(6, Timing(None), 0.0)
    transfer.due(0.0)
    transfer.acknowledge(sack(6, set()), 2, 0.002)
    transfer.acknowledge(sack(6, {0, 1, 2, 3, 4, 5}), 1, 0.003)
    assert transfer.completed
    assert transfer.due(0.003) == []


@pytest.mark.parametrize(
    "report", [Sack(1, 6, ((0, 1),)), Sack(1, 0, ()), Sack(1, 9, ()), Sack(1, 3, ((0, 1),))]
)
def test_a_report_that_contradicts_itself_is_ignored(report: Sack) -> None:
    transfer = Transfer(6, Timing(None), 0.0)
    transfer.due(0.0)
    transfer.acknowledge(report, 1, 0.001)
    assert len(transfer.flying) == WINDOW
    assert not transfer.completed


def test_a_report_with_more_gaps_than_it_can_name_says_nothing_of_the_rest() -> None:
    transfer = Transfer(40, Timing(None), 0.0)
    transfer.overhear(list(range(40)), 0.0)
    lost = set(range(1, 40, 3))
    report = Sack(1, 40 - len(lost), tuple((number, 1) for number in sorted(lost)[:8]))
    transfer.ask_first(0.5)
    assert transfer.due(0.5) == [Chunk(None, True, False)]
    transfer.acknowledge(report, 1, 0.501)
    assert transfer.missing == set(range(1, 23, 3)) | set(range(23, 40))
    assert numbers(transfer.due(0.501)) == [1, 4, 7, 10, 13, 16]
    transfer.acknowledge(sack(40, {number for number in lost if number > 16}), 2, 0.502)
    assert numbers(transfer.due(0.502)) == [19, 22, 25, 28, 31, 34]


def test_a_node_that_forgot_gets_everything_again_at_its_next_report() -> None:
    transfer = Transfer(8, Timing(115200), 0.0)
    transfer.due(0.0)
    transfer.acknowledge(sack(8, {6, 7}), 1, 0.3)
    transfer.due(0.3)
    transfer.restart(0.31)
    assert transfer.due(0.31) == [Chunk(None, True, False)]
    transfer.acknowledge(sack(8, set(range(8))), 1 << 16, 0.32)
    again = transfer.due(0.32)
    assert numbers(again) == [0, 1, 2, 3, 4, 5]
    assert all(chunk.again for chunk in again)


def test_questions_are_asked_until_there_is_a_report() -> None:
    transfer = Transfer(1, Timing(None), 0.0)
    transfer.due(0.0)
    asked = []
    while transfer.wake < 2:
        now = transfer.wake
        assert transfer.due(now) == [Chunk(None, True, False)]
        asked.append(now)
    assert len(asked) >= 8
    gaps = [later - earlier for earlier, later in itertools.pairwise(asked)]
    assert min(gaps) == pytest.approx(gaps[0])
    assert max(gaps) == pytest.approx(2 * gaps[0])


def test_after_the_image_the_answer_is_asked_for_by_the_nodes_own_time() -> None:
    timing = Timing(None)
    for _ in range(40):
        timing.sample_answer(1.0)
    transfer = Transfer(1, timing, 0.0)
    transfer.due(0.0)
    transfer.acknowledge(sack(1, set()), 1, 0.002)
    assert 1.4 < transfer.wake < 2.0
    assert transfer.due(transfer.wake) == [Chunk(None, True, False)]


def test_time_outs_learn_from_reports() -> None:
    timing = Timing(None)
    unknown = timing.timeout(6)
    for _ in range(20):
        timing.sample(6, 0.001)
    assert timing.timeout(6) == pytest.approx(0.02)
    assert timing.timeout(6) < unknown


def test_time_outs_of_a_line_scale_with_what_is_sent() -> None:
    timing = Timing(115200)
    for _ in range(20):
        timing.sample(6, 0.3)
    assert 0.3 < timing.timeout(6) < 0.4
    assert 0.05 < timing.timeout(1) < 0.08


def test_time_outs_that_were_too_short_grow_to_a_limit() -> None:
    timing = Timing(115200)
    before = timing.timeout(6)
    timing.too_short()
    after = timing.timeout(6)
    assert before < after < 1.3 * before
    for _ in range(100):
        timing.too_short()
    assert timing.timeout(6) < 4


def test_only_reports_that_answer_one_burst_alone_teach_the_time_out() -> None:
    timing = Timing(None)
    transfer = Transfer(6, timing, 0.0)
    transfer.due(0.0)
    unknown = timing.timeout(6)
    transfer.acknowledge(sack(6, {2}), 1, 0.001)
    learnt = timing.timeout(6)
    assert learnt < unknown
    transfer.due(0.001)
    transfer.acknowledge(sack(6, set()), 2, 0.501)
    assert timing.timeout(6) == learnt


def test_a_report_after_a_question_lengthens_the_time_out() -> None:
    timing = Timing(115200)
    transfer = Transfer(6, timing, 0.0)
    transfer.due(0.0)
    before = timing.timeout(6)
    assert numbers(transfer.due(transfer.wake)) == [None]
    transfer.acknowledge(sack(6, set()), 1, transfer.wake)
    assert before < timing.timeout(6) < 1.3 * before
