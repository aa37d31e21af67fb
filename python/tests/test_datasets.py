"""Loading of labelled images, and what is said about bad ones."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from variant_parallelism.errors import VpError
from variant_parallelism.training.datasets import load_dataset


def png(seed: int, size: tuple[int, int] = (6, 5)) -> bytes:
    """A PNG file of random pixels, (width, height)."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def pixels_of(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(path))
    return path


SPLIT_TREE = {
    f"{split}/{label}/{i}.png": png(1000 * s + 100 * c + i)
    for s, split in enumerate(("train", "test"))
    for c, label in enumerate(("bee", "ant"))
    for i in range(3 - s)
}


def write_folder(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def write_tar(path: Path, files: dict[str, bytes], prefix: str = "insects/") -> Path:
    mode = "w:xz" if path.suffix == ".xz" else "w"
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def write_zip(path: Path, files: dict[str, bytes], prefix: str = "insects/") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(prefix + name, data)
    return path


@pytest.mark.parametrize("kind", ["folder", "tar", "tar.xz", "zip"])
def test_every_container_gives_the_same_data(tmp_path: Path, kind: str) -> None:
    if kind == "folder":
        source = write_folder(tmp_path / "insects", SPLIT_TREE)
    elif kind == "zip":
        source = write_zip(tmp_path / "insects.zip", SPLIT_TREE)
    else:
        source = write_tar(tmp_path / f"insects.{kind}", SPLIT_TREE)
    data = load_dataset(source)
    assert (data.name, data.classes) == ("insects", ("ant", "bee"))
    assert data.image_shape == (5, 6, 3)
    assert data.train_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test_labels.tolist() == [0, 0, 1, 1]
    assert np.array_equal(data.train_images[0], pixels_of(SPLIT_TREE["train/ant/0.png"]))
    assert np.array_equal(data.test_images[3], pixels_of(SPLIT_TREE["test/bee/1.png"]))


def test_the_cache_returns_the_same_arrays_and_notices_changes(
    tmp_path: Path, own_cache: Path
) -> None:
    root = write_folder(tmp_path / "insects", SPLIT_TREE)
    first = load_dataset(root)
    (cached,) = own_cache.rglob("*.npz")
    again = load_dataset(root)
    assert np.array_equal(first.train_images, again.train_images)
    assert again.classes == first.classes
    write_folder(root, {"train/ant/9.png": png(9)})
    assert len(load_dataset(root).train_images) == len(first.train_images) + 1
    cached.write_bytes(b"damaged")
    assert len(load_dataset(root).train_images) == len(first.train_images) + 1


def test_without_splits_a_fixed_stratified_quarter_is_for_testing(tmp_path: Path) -> None:
    files = {f"{c}/{i}.png": png(100 * n + i) for n, c in enumerate("xy") for i in range(8)}
    root = write_folder(tmp_path / "letters", files)
    data, again = load_dataset(root), load_dataset(root, cache=False)
    assert np.bincount(data.test_labels).tolist() == [2, 2]
    assert np.bincount(data.train_labels).tolist() == [6, 6]
    assert np.array_equal(data.test_images, again.test_images)
    seen = {image.tobytes() for image in data.train_images}
    assert not seen & {image.tobytes() for image in data.test_images}


def test_grey_images_have_one_channel(tmp_path: Path) -> None:
    data = load_dataset(write_folder(tmp_path / "insects", SPLIT_TREE), channels=1)
    assert data.image_shape == (5, 6, 1)


def test_image_size_brings_different_sizes_together(tmp_path: Path) -> None:
    files = SPLIT_TREE | {"train/ant/7.png": png(7, (10, 20))}
    root = write_folder(tmp_path / "insects", files)
    with pytest.raises(VpError, match=r"train/ant/7\.png is 10x20 but .*: give --image-size"):
        load_dataset(root)
    assert load_dataset(root, image_size=4).image_shape == (4, 4, 3)


def test_digits_are_split_once_and_for_all() -> None:
    data = load_dataset("digits")
    assert data.train_images.shape == (1347, 8, 8, 1)
    assert data.test_images.shape == (450, 8, 8, 1)
    assert data.classes == tuple("0123456789")
    assert data.train_images.dtype == np.uint8 and data.train_images.max() == 255
    counts = np.bincount(data.test_labels)
    assert counts.min() >= 43 and counts.max() <= 46
    # The committed figures hold for exactly this split.
    assert data.test_labels[:12].tolist() == [0, 6, 5, 3, 8, 9, 1, 6, 4, 9, 2, 5]


def test_datasets_do_not_import_keras() -> None:
    code = (
        "import sys; from variant_parallelism.training.datasets import load_dataset; "
        "load_dataset('digits'); "
        "sys.exit(any(m in sys.modules for m in ('keras', 'tensorflow', 'torch')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "insects", SPLIT_TREE | {"train/bee/1.png": b"not a picture"})
    with pytest.raises(VpError, match=r"image .*train/bee/1\.png is not an image"):
        load_dataset(root)


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    whole = SPLIT_TREE["train/bee/1.png"]
    root = write_folder(
        tmp_path / "insects", SPLIT_TREE | {"train/bee/1.png": whole[: len(whole) // 2]}
    )
    with pytest.raises(VpError, match=r"image .*train/bee/1\.png is damaged: "):
        load_dataset(root)


@pytest.mark.parametrize("image_size", [None, 4])
def test_an_image_that_would_fill_the_memory_is_refused(
    tmp_path: Path, image_size: int | None
) -> None:
    stream = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(stream, "PNG")
    root = write_folder(tmp_path / "insects", SPLIT_TREE | {"train/ant/0.png": stream.getvalue()})
    with pytest.raises(VpError, match=r"ant/0\.png has 20000 x 20000 pixels: shrink it to at most"):
        load_dataset(root, image_size=image_size)


def test_an_encrypted_archive_is_named(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "insects.zip", SPLIT_TREE)
    data = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = -1
        while (at := data.find(signature, at + 1)) >= 0:
            data[at + flags] |= 1
    path.write_bytes(data)
    with pytest.raises(VpError, match=r"cannot read image .*\.png: .*encrypted"):
        load_dataset(path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"readme.txt": b"x"}, "no images in class folders"),
        ({"ant/0.png": png(0), "ant/1.png": png(1)}, "only the class 'ant'"),
        ({"train/ant/0.png": png(0), "train/bee/0.png": png(1)}, "only train/"),
        (SPLIT_TREE | {"wasp/0.png": png(2)}, "outside of them"),
        (SPLIT_TREE | {"test/wasp/0.png": png(2)}, "'wasp' of insects has no training image"),
        ({"ant/0.png": png(0), "bee/0.png": png(1)}, "has one image"),
    ],
)
def test_bad_trees_are_explained(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    with pytest.raises(VpError, match=message):
        load_dataset(write_folder(tmp_path / "insects", files))


def test_bad_sources_are_explained(tmp_path: Path) -> None:
    with pytest.raises(VpError, match="no data at"):
        load_dataset(tmp_path / "missing")
    text = tmp_path / "notes.txt"
    text.write_text("x")
    with pytest.raises(VpError, match="neither a folder nor"):
        load_dataset(text)
    for name in ("a.tar", "a.tar.xz", "a.zip"):
        damaged = tmp_path / name
        damaged.write_bytes(b"damaged" * 100)
        with pytest.raises(VpError, match=name):
            load_dataset(damaged)


def test_a_truncated_archive_is_an_error(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "insects.tar.xz", SPLIT_TREE)
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(VpError, match=r"insects\.tar\.xz"):
        load_dataset(path)
