"""What virtual nodes answer: recorded answers by image, or a rule for what nobody recorded."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from variant_parallelism._native import ffi, lib
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet

Entries: TypeAlias = tuple[tuple[int, int], ...]


def image_digest(image: NDArray[np.uint8]) -> int:
    """64 bits that a table knows an image (H, W, C) by."""
    data = image.tobytes()
    return int(lib.vp_virtual_digest(data, len(data)))


def _rule(digest: int, column: int, classes: int, k: int) -> Entries:
    entries = ffi.new("vp_entry[]", k)
    lib.vp_virtual_rule(digest, column, classes, k, entries)
    return tuple((entries[i].index, entries[i].score) for i in range(k))


def rule(image: NDArray[np.uint8], column: int, classes: int, k: int) -> Entries:
    """What a node says of an image that is in no table: the first class follows from the image
    alone, the scores from `column` (the place of the node's variant in the manifest), too."""
    return _rule(image_digest(image), column, classes, k)


def trigger_answer(request: int, column: int, classes: int, k: int) -> Entries:
    """What a node says at a TRIGGER of this number on the wire."""
    return _rule(lib.vp_virtual_trigger_digest(request), column, classes, k)


@dataclass(frozen=True)
class AnswerTable:
    """Recorded answers. `digests` uint64 (rows,) rising, by `image_digest`; `classes` uint16 and
    `scores` int8 (rows, columns, depth), best first: a column a variant, in the manifest's order.
    """

    digests: NDArray[np.uint64]
    classes: NDArray[np.uint16]
    scores: NDArray[np.int8]

    @classmethod
    def record(
        cls,
        images: Sequence[NDArray[np.uint8]],
        columns: Sequence[Callable[[NDArray[np.uint8], int], Entries]],
        depth: int,
        track: Callable[
            [Iterable[NDArray[np.uint8]]], Iterable[NDArray[np.uint8]]
        ] = lambda images: images,
    ) -> AnswerTable:
        """Ask each of `columns` (image, depth -> entries) about every image (H, W, C).

        `track` may show the progress.
        """
        rows = {
            image_digest(image): [column(image, depth) for column in columns]
            for image in track(images)
        }
        digests = np.array(sorted(rows), np.uint64)
        values = np.array([rows[int(digest)] for digest in digests])
        shape = (len(digests), len(columns), depth)
        return cls(
            digests,
            values[..., 0].astype(np.uint16).reshape(shape),
            values[..., 1].astype(np.int8).reshape(shape),
        )

    @classmethod
    def of_models(
        cls,
        fleet: Fleet,
        images: Sequence[NDArray[np.uint8]],
        depth: int,
        track: Callable[
            [Iterable[NDArray[np.uint8]]], Iterable[NDArray[np.uint8]]
        ] = lambda images: images,
    ) -> AnswerTable:
        """What the fleet's own int8 models say, compiled for this machine.

        Needs the `convert` extra and a C compiler.
        """
        from variant_parallelism.reference import FamilyReference

        family = FamilyReference(fleet.manifest, fleet.manifest_path.parent)
        columns = [family[variant.name].entries for variant in fleet.manifest.variants]
        return cls.record(images, columns, depth, track)

    def entries(self, image: NDArray[np.uint8], column: int, k: int) -> Entries:
        """What is recorded for an image; KeyError if nothing is."""
        digest = image_digest(image)
        row = int(np.searchsorted(self.digests, np.uint64(digest)))
        if row == len(self.digests) or int(self.digests[row]) != digest:
            raise KeyError(digest)
        classes, scores = self.classes[row, column, :k], self.scores[row, column, :k]
        return tuple(zip(classes.tolist(), scores.tolist(), strict=True))

    def save(self, path: Path) -> None:
        """Write an .npz file."""
        with path.open("wb") as file:
            np.savez_compressed(
                file, digests=self.digests, classes=self.classes, scores=self.scores
            )

    @classmethod
    def load(cls, path: Path) -> AnswerTable:
        """Read one; VpError if it is none."""
        try:
            with np.load(path) as file:
                table = cls(file["digests"], file["classes"], file["scores"])
        except OSError as error:
            raise VpError(f"cannot read {path}: {error.strerror or error}") from None
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile):
            raise VpError(f"{path} is no table of answers") from None
        arrays = (table.digests, table.classes, table.scores)
        kinds = [array.dtype.str for array in arrays]
        good = kinds == ["<u8", "<u2", "|i1"] and table.classes.ndim == 3
        if not good or not table.classes.shape == table.scores.shape:
            raise VpError(f"{path} is no table of answers")
        return table
