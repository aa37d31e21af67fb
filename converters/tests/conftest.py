"""Helpers for every test here: paths, marks and the size of a run."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

REPOSITORY = Path(__file__).resolve().parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked by their fixtures' needs skip with the reason."""
    missing = [t for t in ("arm-none-eabi-gcc", "qemu-system-arm") if shutil.which(t) is None]
    if missing:
        mark = pytest.mark.skip(reason=f"{', '.join(missing)} not installed")
        for item in items:
            if "emulated" in getattr(item, "fixturenames", ()):
                item.add_marker(mark)


@pytest.fixture
def emulated() -> None:
    """Asks for the ARM compiler and QEMU; without them the test skips."""


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """The folder with resnet8.tflite and the VP variants: $VP_MODELS or ../shared/models."""
    folder = Path(os.environ.get("VP_MODELS", REPOSITORY.parent / "shared" / "models"))
    if not (folder / "resnet8.tflite").is_file():
        pytest.skip(f"no models in {folder}; set VP_MODELS")
    return folder


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where this run's shared libraries are built."""
    return tmp_path_factory.mktemp("libraries")


@pytest.fixture(scope="session")
def scale() -> int:
    """How many times the usual number of random graphs: 1, or 25 with VP_EXHAUSTIVE=1."""
    return 25 if os.environ.get("VP_EXHAUSTIVE") == "1" else 1
