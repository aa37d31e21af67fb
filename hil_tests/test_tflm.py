"""Nodes on TensorFlow Lite Micro: VP_TFLM_PATH names a checkout of it with its library."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hil_bench import BOARD, DIGITS, ROOT, Bench
from variant_parallelism.errors import VpError
from variant_parallelism.firmware import Image, build_images, load_board
from variant_parallelism.firmware.tflm_bench import bench_tflm
from variant_parallelism.firmware.tflm_checkout import TflmCheckout, check_cxx, open_checkout
from variant_parallelism.firmware.tflm_model import read_tflm_model
from variant_parallelism.firmware.tflm_program import TflmProgram
from variant_parallelism.manifest import Manifest, load_manifest, model_hash, save_manifest
from variant_parallelism.preprocess import input_lut
from variant_parallelism.reference import VariantReference
from variant_parallelism.training.datasets import Dataset

sys.path.insert(0, str(ROOT / "converters" / "tests"))
OUT = ROOT / "build" / "hil_tests"
SIDE = 16
INPUT = (1 / 127, -1)
SCORES = (1 / 256, -128)


@pytest.fixture(scope="session")
def checkout(emulator: str) -> TflmCheckout:
    """The checkout that VP_TFLM_PATH names; tests skip without it."""
    path = os.environ.get("VP_TFLM_PATH")
    if path is None:
        pytest.skip("VP_TFLM_PATH names no checkout of TensorFlow Lite Micro")
    try:
        check_cxx()
        found = open_checkout(Path(path))
        found.library(load_board(BOARD).cpu_flags)
    except VpError as error:
        pytest.skip(str(error))
    return found


@pytest.fixture(scope="session")
def interpreted(checkout: TflmCheckout) -> Image:
    """The image of d8 on TensorFlow Lite Micro."""
    return build_images(DIGITS / "manifest.json", ["d8"], BOARD, OUT, tflm=checkout)[0]


def test_the_image_holds_the_interpreter_and_the_file(bench: Bench, interpreted: Image) -> None:
    file = (DIGITS / bench.manifest.variant("d8").file).read_bytes()
    assert file in interpreted.elf.read_bytes()
    assert file not in bench.images["d8"].read_bytes()
    assert interpreted.elf != bench.images["d8"]
    assert interpreted.arena > 0 and interpreted.ram > interpreted.arena


async def test_both_runtimes_answer_alike_in_one_fleet(
    bench: Bench, interpreted: Image, digits: Dataset
) -> None:
    nodes = [("d8", "serial"), ("d8", "udp"), ("d8", "serial"), ("d16", "udp")]
    images = {1: interpreted.elf, 2: interpreted.elf}
    async with bench.run(bench.fleet(nodes), images=images) as running:
        for k in (1, 2, 5):
            for picture in digits.test_images[:8]:
                answer = await running.classify(picture, k)
                votes = {vote.node: vote.entries for vote in answer.votes}
                assert sorted(votes) == [1, 2, 3, 4]
                assert votes[1] == votes[2] == votes[3]


def test_bench_measures_what_the_board_does(checkout: TflmCheckout) -> None:
    result = bench_tflm(DIGITS / "d8.tflite", BOARD, checkout, inputs=3)
    assert (result.inputs_checked, result.mismatches, result.difference) == (3, 0, None)
    assert result.compared == ("before the softmax", "output")
    spent = sum(one.instructions for one in result.operators)
    assert 0.9 * result.instructions < spent <= result.instructions
    assert result.instructions > result.macs == 79_232
    assert result.ram_bytes > result.arena_bytes > 64
    assert result.footprint.flash > (DIGITS / "d8.tflite").stat().st_size
    assert 100 < result.stack_bytes < load_board(BOARD).stack_size


def test_a_refusal_is_the_runtimes_own_message(checkout: TflmCheckout, tmp_path: Path) -> None:
    path = tmp_path / "odd.tflite"
    path.write_bytes(logistic_model(squashed_zero_point=-127))
    program = TflmProgram(read_tflm_model(path, "model_odd"), checkout, load_board(BOARD).cpu_flags)
    with pytest.raises(VpError, match=r"refuses it: .*logistic") as refused:
        program.measure_arena()
    assert "\n" not in str(refused.value)


def logistic_model(seed: int = 5, squashed_zero_point: int = -128) -> bytes:
    """A convolution, a sigmoid (which the compiler does not support), ten scores."""
    from tflite_builder import ModelBuilder

    random = np.random.default_rng(seed)
    builder = ModelBuilder()
    first = builder.activation((1, SIDE, SIDE, 1), *INPUT)
    convolved = builder.activation((1, SIDE // 2, SIDE // 2, 8), 0.05, 3)
    squashed = builder.activation((1, SIDE // 2, SIDE // 2, 8), SCORES[0], squashed_zero_point)
    logits = builder.activation((1, 10), 0.1, 0)
    scores = builder.activation((1, 10), *SCORES)
    kernel = builder.constant(random.integers(-127, 128, (8, 3, 3, 1)), scales=[0.02] * 8)
    bias = builder.constant(random.integers(-500, 500, 8), "int32", scales=[0.02 / 127] * 8)
    weights = builder.constant(random.integers(-127, 128, (10, SIDE * SIDE * 2)), scales=[0.01])
    offsets = builder.constant(random.integers(-999, 999, 10), "int32", scales=[0.01 / 256])
    builder.op(
        "CONV_2D", [first, kernel, bias], [convolved], Padding="SAME", StrideH=2, StrideW=2,
        DilationHFactor=1, DilationWFactor=1,
    )  # fmt: skip
    builder.op("LOGISTIC", [convolved], [squashed])
    builder.op("FULLY_CONNECTED", [squashed, weights, offsets], [logits])
    builder.op("SOFTMAX", [logits], [scores], Beta=1.0)
    return builder.build([first], [scores])


@pytest.fixture(scope="session")
def logistic_family(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of one variant, `sigmoid`."""
    pytest.importorskip("tflite_micro", reason="tflite_micro, which says what is right, is missing")
    folder = tmp_path_factory.mktemp("logistic")
    data = logistic_model()
    (folder / "sigmoid.tflite").write_bytes(data)
    family = load_manifest(DIGITS / "manifest.json")
    variant = family.variant("d16").model_copy(
        update=dict(name="sigmoid", file="sigmoid.tflite", hash=model_hash(data))
    )
    manifest = family.model_copy(update=dict(name="logistic", variants=[variant]))
    save_manifest(manifest, folder / "manifest.json")
    return folder / "manifest.json"


class OracleReference(VariantReference):
    """What tflite_micro says of a variant that cannot be compiled for this machine."""

    def __init__(self, manifest: Manifest, folder: Path) -> None:
        from vp_converters.oracle import Oracle

        (self._variant,) = manifest.variants
        self._oracle = Oracle((folder / self._variant.file).read_bytes())
        self._lut = input_lut(*INPUT)

    def scores(self, image: NDArray[np.uint8]) -> NDArray[np.int8]:
        return self._oracle.run(self.input(image)[None]).reshape(-1)


async def test_a_model_that_the_compiler_refuses_is_deployed(
    emulator: str,
    checkout: TflmCheckout,
    logistic_family: Path,
    digits: Dataset,
    tmp_path: Path,
) -> None:
    with pytest.raises(VpError, match="LOGISTIC") as refused:
        build_images(logistic_family, ["sigmoid"], BOARD, tmp_path / "compiled")
    assert "\n" not in str(refused.value)
    (image,) = build_images(logistic_family, ["sigmoid"], BOARD, tmp_path / "out", tflm=checkout)

    manifest = load_manifest(logistic_family)
    reference = OracleReference(manifest, logistic_family.parent)
    bench = Bench(manifest, logistic_family.parent, {"sigmoid": image.elf}, tmp_path, emulator)
    fleet = bench.fleet([("sigmoid", "serial"), ("sigmoid", "udp")])
    seen = set()
    async with bench.run(fleet) as running:
        for picture in digits.test_images[:12]:
            answer = await running.gateway.classify(picture, k=3)
            expected = reference.entries(picture, 3)
            assert [vote.entries for vote in answer.votes] == [expected, expected]
            seen.add(expected)
    assert len(seen) > 3
