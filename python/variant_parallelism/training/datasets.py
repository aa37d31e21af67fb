"""Labelled images for training and testing: image folders, archives of one, and `digits`.

Needs NumPy, Pillow and (for `digits`) scikit-learn; never Keras.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from variant_parallelism.errors import VpError
from variant_parallelism.images import decode_pixels

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_TAR_SUFFIXES = (".tar", ".tar.xz", ".txz", ".tar.gz", ".tgz", ".tar.bz2")
_SPLIT_SEED = 20230101
_TEST_SHARE = 0.25
_CACHE_VERSION = 2

# RuntimeError: an encrypted or oddly compressed member of a zip archive.
_UNREADABLE = (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)

Progress = Callable[[Iterable["_Entry"], int], Iterable["_Entry"]]


@dataclass(frozen=True)
class Dataset:
    """Two splits of one classification task.

    Images are uint8 (N, height, width, channels), channels 1 or 3; labels are int64 (N,) and index
    `classes`.
    """

    name: str
    classes: tuple[str, ...]
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of every image."""
        height, width, channels = self.train_images.shape[1:]
        return int(height), int(width), int(channels)


@dataclass(frozen=True)
class _Entry:
    """One image of a folder or archive; `split` is train, test or '' when the tree has none."""

    split: str
    label: str
    path: str
    read: Callable[[], bytes]


def load_dataset(
    source: str | Path,
    *,
    image_size: int | None = None,
    channels: int = 3,
    cache: bool = True,
    progress: Progress | None = None,
) -> Dataset:
    """The data set `source`: the name `digits`, an image folder, or a .tar/.tar.xz/.zip of one.

    An image folder has one folder per class (sorted alphabetically: that is the label order),
    either directly or below `train/` and `test/`; without those, every fourth image of a class,
    drawn once with a fixed seed, is for testing. All images must have one size, unless
    `image_size` is given: then the largest centred square of each is resized to it. `channels`
    is 3 (RGB) or 1 (grey). `images.decode_pixels` decodes them, as it does for `vp classify`, so
    that the accuracies measured on them hold there. Decoded arrays are cached under
    $XDG_CACHE_HOME/variant-parallelism.
    Raises VpError for anything wrong with the data, and names the file.
    """
    check_source(source)
    if str(source) == "digits":
        return _digits()
    path = Path(source)
    cache_file = _cache_file(path, image_size, channels) if cache else None
    if cache_file is not None and cache_file.exists():
        cached = _read_cache(cache_file)
        if cached is not None:
            return cached
    if path.is_dir():
        dataset = _decode(path.name, list(_folder_entries(path)), image_size, channels, progress)
    elif path.name.endswith(".zip"):
        try:
            archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise VpError(f"cannot open archive {path}: {error}") from None
        with archive:
            entries = list(_zip_entries(archive))
            dataset = _decode(_stem(path), entries, image_size, channels, progress)
    else:
        entries = _tar_entries(path)
        dataset = _decode(_stem(path), entries, image_size, channels, progress)
    if cache_file is not None:
        _write_cache(cache_file, dataset)
    return dataset


def check_source(source: str | Path) -> None:
    """VpError unless `source` is something that `load_dataset` reads; does not look inside."""
    path = Path(source)
    if str(source) == "digits" or path.is_dir():
        return
    if not path.exists():
        raise VpError(f"no data at {path}: give an image folder, a .tar/.tar.xz/.zip, or `digits`")
    if not path.name.endswith((".zip", *_TAR_SUFFIXES)):
        raise VpError(f"{path} is neither a folder nor a .tar/.tar.xz/.zip of one")


def _digits() -> Dataset:
    """scikit-learn's handwritten digits: 1,797 images of 8 x 8 x 1, a fixed stratified split."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise VpError("`digits` needs scikit-learn: pip install scikit-learn") from None
    bunch = load_digits()
    # 0..16 -> 0..255, rounded to nearest.
    images = np.floor(bunch.images[..., None] * (255 / 16) + 0.5).astype(np.uint8)
    labels = bunch.target.astype(np.int64)
    train, test = _split(labels)
    return Dataset(
        "digits",
        tuple(str(name) for name in bunch.target_names),
        images[train],
        labels[train],
        images[test],
        labels[test],
    )


def _split(labels: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Indices of a stratified train and test split, the same for the same labels.

    Both are in random order, so that the first images of a split show all classes.
    """
    random = np.random.default_rng(_SPLIT_SEED)
    train, test = [], []
    for label in range(int(labels.max()) + 1):
        members = random.permutation(np.flatnonzero(labels == label))
        held_out = max(1, round(len(members) * _TEST_SHARE))
        test.append(members[:held_out])
        train.append(members[held_out:])
    return random.permutation(np.concatenate(train)), random.permutation(np.concatenate(test))


def _classify(path: str) -> tuple[str, str] | None:
    """(split, class) of an image's path, or None for what is not an image of a class."""
    parts = PurePosixPath(path).parts
    if len(parts) < 2 or parts[-1].startswith(".") or "__MACOSX" in parts:
        return None
    if not parts[-1].lower().endswith(IMAGE_SUFFIXES):
        return None
    split = parts[-3] if len(parts) >= 3 and parts[-3] in ("train", "test") else ""
    return split, parts[-2]


def _folder_entries(root: Path) -> Iterator[_Entry]:
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root).as_posix()
        place = _classify(inside)
        if place is not None and path.is_file():
            yield _Entry(*place, str(path), path.read_bytes)


def _zip_entries(archive: zipfile.ZipFile) -> Iterator[_Entry]:
    for name in sorted(archive.namelist()):
        place = _classify(name)
        if place is not None:
            yield _Entry(*place, name, partial(archive.read, name))


def _tar_entries(path: Path) -> list[_Entry]:
    """All images of a tar file, read in one pass: seeking in a compressed one is quadratic."""
    entries = []
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                place = _classify(member.name)
                stream = archive.extractfile(member) if place and member.isfile() else None
                if place is not None and stream is not None:
                    entries.append(_Entry(*place, member.name, _constant(stream.read())))
    except (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError) as error:
        raise VpError(f"{path} is damaged or not a tar archive: {error}") from None
    return sorted(entries, key=lambda entry: entry.path)


def _constant(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def _decode(
    name: str,
    entries: list[_Entry],
    image_size: int | None,
    channels: int,
    progress: Progress | None,
) -> Dataset:
    classes = tuple(sorted({entry.label for entry in entries}))
    if len(classes) < 2:
        found = f"only the class {classes[0]!r}" if classes else "no images in class folders"
        raise VpError(f"data set {name} has {found}: expected one folder of images per class")
    splits = {entry.split for entry in entries}
    if "" in splits and len(splits) > 1:
        stray = next(entry.path for entry in entries if not entry.split)
        raise VpError(f"data set {name} has train/ or test/ but also {stray} outside of them")
    if len(splits) == 1 and "" not in splits:
        (only,) = splits
        raise VpError(f"data set {name} has only {only}/: expected train/ and test/, or neither")

    first = _decode_image(entries[0], image_size, channels)
    images = np.empty((len(entries), *first.shape), np.uint8)
    for i, entry in enumerate(progress(entries, len(entries)) if progress else entries):
        pixels = _decode_image(entry, image_size, channels)
        if pixels.shape != first.shape:
            raise VpError(
                f"{entry.path} is {pixels.shape[1]}x{pixels.shape[0]} but {entries[0].path} is "
                f"{first.shape[1]}x{first.shape[0]}: give --image-size to bring all to one size"
            )
        images[i] = pixels
    labels = np.array([classes.index(entry.label) for entry in entries], np.int64)
    if splits == {""}:
        smallest = int(np.bincount(labels).argmin())
        if int(np.bincount(labels).min()) < 2:
            raise VpError(f"class {classes[smallest]!r} of {name} has one image: it needs two")
        train, test = _split(labels)
    else:
        in_test = np.array([entry.split == "test" for entry in entries])
        train, test = np.flatnonzero(~in_test), np.flatnonzero(in_test)
        missing = set(range(len(classes))) - set(labels[train].tolist())
        if missing:
            raise VpError(f"class {classes[min(missing)]!r} of {name} has no training image")
    return Dataset(name, classes, images[train], labels[train], images[test], labels[test])


def _decode_image(entry: _Entry, image_size: int | None, channels: int) -> NDArray[np.uint8]:
    try:
        data = entry.read()
    except _UNREADABLE as error:
        raise VpError(f"cannot read image {entry.path}: {error}") from None
    size = None if image_size is None else (image_size, image_size)
    return decode_pixels(data, channels, size, f"image {entry.path}")


def _stem(path: Path) -> str:
    return path.name.split(".")[0]


def _cache_file(path: Path, image_size: int | None, channels: int) -> Path:
    """A name that changes with the files of the data set and with how they are decoded."""
    digest = hashlib.blake2s(repr((_CACHE_VERSION, image_size, channels)).encode())
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        status = file.stat()
        digest.update(repr((str(file.resolve()), status.st_size, status.st_mtime_ns)).encode())
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "variant-parallelism" / f"{_stem(path)}-{digest.hexdigest()[:16]}.npz"


def _read_cache(path: Path) -> Dataset | None:
    """The cached arrays, or None if the file cannot be used: it is only a copy."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Dataset(
                str(arrays["name"]),
                tuple(str(name) for name in arrays["classes"]),
                arrays["train_images"],
                arrays["train_labels"],
                arrays["test_images"],
                arrays["test_labels"],
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _write_cache(path: Path, dataset: Dataset) -> None:
    """Best effort: a cache that cannot be written costs time, not correctness."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            np.savez(
                stream,
                name=np.array(dataset.name),
                classes=np.array(dataset.classes),
                train_images=dataset.train_images,
                train_labels=dataset.train_labels,
                test_images=dataset.test_images,
                test_labels=dataset.test_labels,
            )
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)
