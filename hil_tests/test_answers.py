"""Whole boards answer what this machine computes with the same compiled models, bit for bit."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from hil_bench import KEY, LARGE, Bench, noise
from variant_parallelism.aggregate import combine_vp, probabilities, scatter
from variant_parallelism.training.datasets import Dataset
from variant_parallelism.wire import CHUNK_SIZE, ResetCause

TRANSPORTS = ("serial", "udp")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_every_variant_answers_bit_for_bit(
    bench: Bench, digits: Dataset, transport: str
) -> None:
    fleet = bench.fleet([(name, transport) for name in bench.variants])
    async with bench.run(fleet) as running:
        for k in (1, 2, 5):
            for image in digits.test_images[:8]:
                answer = await running.classify(image, k)
                assert [vote.node for vote in answer.votes] == [1, 2, 3, 4, 5]
                assert all(len(vote.entries) == k for vote in answer.votes)
                assert answer.missing == () and answer.errors == {}


async def test_mixed_fleet_combines_as_the_formula_says(bench: Bench, digits: Dataset) -> None:
    names = bench.variants
    fleet = bench.fleet(list(zip(names, ("serial", "udp", "serial", "udp", "serial"), strict=True)))
    async with bench.run(fleet) as running:
        for image in digits.test_images[8:16]:
            answer = await running.classify(image)
            vectors = [
                scatter(indices, probabilities(np.array(scores, np.int8)), 10)
                for indices, scores in (
                    zip(*running.reference[name].entries(image, 2), strict=True) for name in names
                )
            ]
            weights = [bench.manifest.variant(name).weight for name in names]
            expected = combine_vp(vectors, weights) / sum(weights)
            assert np.allclose(answer.scores, expected, rtol=0, atol=1e-12)
            assert answer.class_index == int(expected.argmax())
            assert answer.score == pytest.approx(expected.max())


async def test_boards_say_who_they_are(bench: Bench) -> None:
    fleet = bench.fleet([("d8", "serial"), ("d24", "udp")])
    async with bench.run(fleet) as running:
        for node, transport in ((1, "serial"), (2, "udp")):
            status = running.status(node)
            variant = bench.manifest.variant(status.variant)
            hello = status.hello
            assert hello is not None and status.transport == transport
            assert hello.model_hash == variant.hash
            assert (hello.height, hello.width, hello.channels) == (variant.resolution,) * 2 + (1,)
            assert hello.classes == 10
            assert hello.capacity == bench.manifest.input.size
            assert hello.board == status.board == bench.board(transport)
            assert hello.reset_cause is ResetCause.POWER
            assert (hello.damaged, hello.rejected) == (0, 0)


@pytest.mark.parametrize("key", [KEY, None], ids=["authenticated", "crc"])
async def test_answers_are_as_short_as_promised(
    bench: Bench, digits: Dataset, key: bytes | None
) -> None:
    fleet = bench.fleet([("d8", "serial"), ("d8", "udp")], key=key)
    async with bench.run(fleet) as running:
        answer = await running.classify(digits.test_images[0])
        trailer = 8 if key else 4
        assert [vote.wire_bytes for vote in answer.votes] == [19 + trailer, 17 + trailer]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("size", [(1, 1), (3, 200), (17, 31), (64, 64)], ids=str)
async def test_images_of_other_sizes(
    large_bench: Bench, transport: str, size: tuple[int, int]
) -> None:
    fleet = large_bench.fleet([("d8", transport), ("d24", transport)])
    async with large_bench.run(fleet) as running:
        answer = await running.classify(noise(size[0], *size), 3)
        assert len(answer.votes) == 2


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_largest_image_goes_in_windows_of_chunks(large_bench: Bench, transport: str) -> None:
    fleet = large_bench.fleet([("d16", transport)])
    async with large_bench.run(fleet) as running:
        # The line may have been opened in the middle of a HELLO.
        before = running.gateway.counters.damaged
        for seed in range(1 if transport == "serial" else 10):
            answer = await running.classify(noise(seed, *LARGE))
            assert len(answer.votes) == 1
        counters = running.gateway.counters
        chunks = -(-LARGE[0] * LARGE[1] // CHUNK_SIZE)
        assert counters.chunks >= chunks
        assert counters.damaged == before


async def test_inputs_that_a_node_cannot_take_are_errors(
    bench: Bench, large_bench: Bench, digits: Dataset
) -> None:
    fleet = large_bench.fleet([("d8", "serial"), ("d12", "udp")])
    roomless = bench.image("d12", "udp")
    async with bench.run(bench.fleet([("d8", "udp")])) as running:
        answer = await running.classify(noise(1, 9, 9))
        assert answer.class_index is None and answer.votes == ()
        assert answer.errors == {1: "the image is larger than the node's buffer"}
        assert (await running.classify(digits.test_images[0])).votes
    async with large_bench.run(fleet, images={2: roomless}, wait_for=1) as running:
        status = await running.until_state(2, "refused")
        assert status.reason == "it holds images of 64 bytes, not 27648"
        assert [vote.node for vote in (await running.classify(noise(1, 9, 9))).votes] == [1]


async def test_wrong_model_is_refused_with_its_name(bench: Bench, digits: Dataset) -> None:
    fleet = bench.fleet([("d8", "serial"), ("d12", "udp")])
    images = {2: bench.image("d16", "udp")}
    async with bench.run(fleet, images=images, wait_for=1) as running:
        status = await running.until_state(2, "refused")
        assert status.reason == "it runs d16 but the fleet file says d12"
        answer = await running.classify(digits.test_images[0])
        assert [vote.node for vote in answer.votes] == [1] and answer.missing == (2,)


async def test_many_requests_at_once_get_their_own_answers(bench: Bench, digits: Dataset) -> None:
    fleet = bench.fleet([("d8", "serial"), ("d12", "udp"), ("d16", "udp")])
    async with bench.run(fleet) as running:
        images = digits.test_images[:20]
        answers = await asyncio.gather(*(running.classify(image) for image in images))
        assert all(len(answer.votes) == 3 for answer in answers)
        assert len({answer.request for answer in answers}) == len(images)
