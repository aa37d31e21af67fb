"""What a virtual node does wrong."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_ONE = 65536

Chance = Annotated[float, Field(ge=0, le=1)]


class NodeFaults(BaseModel):
    """Chances are of each message that the node sends; a seed decides which.

    `drop`: it is lost. `duplicate`: it is sent twice. `garble`: one of its bits differs. `forge`:
    a prediction is followed by another one that a stranger, who lacks the key, made up. `lie`: its
    predictions are wrong, and sure. `stall`: it takes inputs and never answers. `slow_ms`: how much
    longer each answer takes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    drop: Chance = 0.0
    duplicate: Chance = 0.0
    garble: Chance = 0.0
    forge: Chance = 0.0
    lie: bool = False
    stall: bool = False
    slow_ms: Annotated[float, Field(ge=0, le=600_000)] = 0.0

    def as_c(self) -> dict[str, int]:
        """The fields of `vp_virtual_faults`."""
        return {
            "drop": round(self.drop * _ONE),
            "duplicate": round(self.duplicate * _ONE),
            "garble": round(self.garble * _ONE),
            "forge": round(self.forge * _ONE),
            "lie": self.lie,
            "stall": self.stall,
            "slow_us": round(self.slow_ms * 1000),
        }
