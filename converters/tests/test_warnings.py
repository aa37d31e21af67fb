"""The generated C and its kernels under every warning of two compilers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from exactness import IMAGE_OPS, graph_bytes
from random_networks import FAMILIES, network
from vp_converters import load_model
from vp_converters.host import program_files, sources_of

WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
M4 = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
M55 = ("-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard")
NEWLIB = Path("/usr/lib/arm-none-eabi/include")
CLANGS = ("clang", *(f"clang-{version}" for version in range(21, 12, -1)))


def _clang() -> str:
    found = next(filter(shutil.which, CLANGS), None)
    if found is None:
        pytest.skip("no clang: apt install clang")
    return found


def _build(folder: Path, command: list[str], kernels: str, scale: int) -> None:
    models = []
    for number in range(scale):
        files = {f"{family}_{number}": network for family in FAMILIES}
        files |= {f"{kind}_{number}": graph_bytes for kind in IMAGE_OPS}
        for label, make in files.items():
            path = folder / f"{label}.tflite"
            path.write_bytes(make(label.rsplit("_", 1)[0], f"warnings {label}"))
            models.append(load_model(path, kernels=kernels))
    texts = program_files(models)
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    command = [*command, *WARNINGS, "-O2", "-I.", "-c", *sources_of(texts)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_gcc(tmp_path: Path, scale: int) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc: apt install gcc")
    _build(tmp_path, ["gcc", "-pedantic"], "portable", scale)


def test_clang(tmp_path: Path, scale: int) -> None:
    _build(tmp_path, [_clang(), "-pedantic"], "portable", scale)


@pytest.mark.parametrize(("kernels", "flags"), [("dsp", M4), ("mve", M55)])
def test_gcc_for_arm(
    kernels: str, flags: tuple[str, ...], tmp_path: Path, emulated: None, scale: int
) -> None:
    _build(tmp_path, ["arm-none-eabi-gcc", *flags], kernels, scale)


def test_clang_for_arm(tmp_path: Path, scale: int) -> None:
    clang = _clang()
    if not NEWLIB.is_dir():
        pytest.skip(f"no {NEWLIB}: apt install libnewlib-arm-none-eabi")
    command = [clang, "--target=arm-none-eabi", *M4, "-isystem", str(NEWLIB)]
    _build(tmp_path, command, "dsp", scale)
