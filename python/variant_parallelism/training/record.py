"""`run.json`: what a training folder holds, so that quantization needs nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from variant_parallelism.errors import VpError
from variant_parallelism.families.spec import Family, Recipe, Stage, VariantSpec
from variant_parallelism.training.files import write_json

RECORD_NAME = "run.json"


@dataclass(frozen=True)
class RunRecord:
    """One family trained on one data set.

    `data` is what `load_dataset` takes: `digits` or an absolute path.
    """

    family: Family
    data: str
    image_size: int | None
    classes: tuple[str, ...]

    def save(self, folder: Path) -> None:
        """Write `run.json`."""
        write_json(folder / RECORD_NAME, asdict(self))


def load_record(folder: Path) -> RunRecord:
    """Read `run.json` of a training folder; VpError if it is missing or damaged."""
    path = folder / RECORD_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        family = content["family"]
        return RunRecord(
            family=Family(
                name=family["name"],
                variants=tuple(_spec(variant) for variant in family["variants"]),
                recipe=Recipe(**family["recipe"]),
                channels=family["channels"],
                dataset=family["dataset"],
                bases=tuple(_spec(base) for base in family["bases"]),
            ),
            data=content["data"],
            image_size=content["image_size"],
            classes=tuple(content["classes"]),
        )
    except OSError:
        raise VpError(f"no training run in {folder}: run `vp train` first") from None
    except (ValueError, KeyError, TypeError) as error:
        raise VpError(f"{path} is damaged: {error}") from None


def _spec(content: dict[str, Any]) -> VariantSpec:
    stages = tuple(Stage(**stage) for stage in content["stages"])
    return VariantSpec(**{**content, "stages": stages})
