"""Where `vp quantize` writes: found out before hours of measuring, and replaced as a whole."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fleet_factory import make_manifest
from variant_parallelism.errors import VpError
from variant_parallelism.manifest import load_manifest
from variant_parallelism.quantize import family as quantize
from variant_parallelism.quantize.family import check_writable, quantize_family, write_family

OLD, NEW = make_manifest(variants=2), make_manifest(variants=3)


def models(content: bytes, variants: int) -> dict[str, bytes]:
    return {f"v{index}.tflite": content for index in range(variants)}


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_family_is_written_and_replaced(tmp_path: Path) -> None:
    out = tmp_path / "models" / "digits"
    check_writable(out)
    assert list(out.iterdir()) == []
    write_family(out, OLD, models(b"old", 2))
    write_family(out, NEW, models(b"new", 3))
    assert load_manifest(out / "manifest.json") == NEW
    written = tree(out)
    del written["manifest.json"]
    assert written == models(b"new", 3)
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", *models(b"", 3)]


@pytest.mark.parametrize("out", ["file", "file/below", "nul\0byte", "long" * 100, "closed/below"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "closed").mkdir(mode=0o500)
    if out.startswith("closed") and os.access(tmp_path / "closed", os.W_OK):
        pytest.skip("this user may write everywhere (root)")
    with pytest.raises(VpError, match=r"^cannot write to .*; give another folder with --out$"):
        check_writable(tmp_path / out)


def test_the_folder_is_tried_before_anything_is_loaded_or_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("measured before the folder was tried")

    class Record:
        class family:
            variants = ()

    monkeypatch.setattr(quantize, "load_record", lambda run: Record)
    monkeypatch.setattr(quantize, "load_dataset", never)
    (tmp_path / "file").write_text("x")
    with pytest.raises(VpError, match=r"cannot write to '.*file': File exists"):
        quantize_family(tmp_path / "run", tmp_path / "file")


@pytest.mark.parametrize("at", range(4))
def test_a_full_disk_leaves_the_family_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    write_family(tmp_path, OLD, models(b"old", 2))
    before = tree(tmp_path)
    monkeypatch.setattr(Path, "write_bytes", full_after(at, Path.write_bytes))
    monkeypatch.setattr(Path, "write_text", full_after(at - 3, Path.write_text))
    with pytest.raises(VpError, match=r"cannot write to .*: No space left on device"):
        write_family(tmp_path, NEW, models(b"new", 3))
    assert tree(tmp_path) == before


def full_after(writes: int, write: object) -> object:
    left = [writes]

    def limited(*arguments: object, **options: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(*arguments, **options)

    return limited


def test_the_manifest_is_replaced_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    replace = os.replace

    def recorded(source: Path, target: Path) -> None:
        if Path(target).parent == tmp_path:
            order.append(Path(target).name)
        replace(source, target)

    monkeypatch.setattr(os, "replace", recorded)
    write_family(tmp_path, NEW, models(b"new", 3))
    assert order == ["v0.tflite", "v1.tflite", "v2.tflite", "manifest.json"]
