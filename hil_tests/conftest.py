"""Fixtures for tests on whole emulated boards: images built once, a bench that boots fleets."""

from __future__ import annotations

import asyncio
import inspect
import shutil
import sys
from pathlib import Path

import pytest

# pytest's importlib mode leaves test folders off sys.path; the bench is shared by all files here.
sys.path.insert(0, str(Path(__file__).parent))

from hil_bench import BOARD, DIGITS, ETHERNET_BOARD, ROOT, Bench, large_models
from variant_parallelism.emulators import EMULATORS
from variant_parallelism.errors import VpError
from variant_parallelism.firmware import build_images
from variant_parallelism.manifest import load_manifest
from variant_parallelism.training.datasets import Dataset, load_dataset

TEST_LIMIT_S = 150.0


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--emulator",
        choices=[*sorted(EMULATORS), "all"],
        default="qemu",
        help="what runs the boards",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "emulator" in metafunc.fixturenames and metafunc.config.getoption("--emulator") == "all":
        metafunc.parametrize("emulator", sorted(EMULATORS), indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a coroutine test in an event loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    asyncio.run(asyncio.wait_for(pyfuncitem.obj(**arguments), TEST_LIMIT_S))
    return True


@pytest.fixture(scope="session")
def emulator(request: pytest.FixtureRequest) -> str:
    """The emulator's name; tests skip where it or the compiler is missing."""
    name = str(getattr(request, "param", request.config.getoption("--emulator")))
    try:
        EMULATORS[name].check()
    except VpError as error:
        pytest.skip(str(error))
    for program, package in (
        ("arm-none-eabi-gcc", "gcc-arm-none-eabi"),
        ("cmake", "cmake"),
        ("ninja", "ninja-build"),
    ):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: install Debian package {package}")
    return name


@pytest.fixture(scope="session")
def digits() -> Dataset:
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn, which is missing")
    return load_dataset("digits")


def _bench(manifest_folder: Path, workdir: Path, emulator: str) -> Bench:
    manifest = load_manifest(manifest_folder / "manifest.json")
    names = [variant.name for variant in manifest.variants]
    out = ROOT / "build" / "hil_tests"
    images = {
        board: {
            image.variant: image.elf
            for image in build_images(manifest_folder / "manifest.json", names, board, out)
        }
        for board in {BOARD, ETHERNET_BOARD[emulator]}
    }
    return Bench(
        manifest, manifest_folder, images[BOARD], workdir, emulator,
        images[ETHERNET_BOARD[emulator]],
    )  # fmt: skip


@pytest.fixture(scope="session")
def bench(emulator: str, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The digits family as it is."""
    return _bench(DIGITS, tmp_path_factory.mktemp("bench"), emulator)


@pytest.fixture(scope="session")
def large_bench(emulator: str, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """The same models in images that take inputs of up to 144 x 192 pixels."""
    return _bench(large_models(), tmp_path_factory.mktemp("large-bench"), emulator)
