"""What outlives the gateway: its boot counter, and the highest counter seen of each node.

Without it a restarted gateway would repeat counters, which nodes take for replays, and would
believe messages recorded during an earlier run.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from variant_parallelism.errors import VpError

_BOOT_LIMIT = 1 << 24
_EPOCH = datetime(2024, 1, 1, tzinfo=UTC).timestamp()


def default_state_dir() -> Path:
    """$XDG_STATE_HOME/variant-parallelism, or the same below ~/.local/state."""
    home = os.environ.get("XDG_STATE_HOME")
    base = Path(home) if home else Path.home() / ".local" / "state"
    return base / "variant-parallelism"


def minutes_since_2024() -> int:
    """A boot counter that rises even where none could be kept: 31 years fit in 24 bits."""
    return max(0, int((time.time() - _EPOCH) // 60))


@dataclass
class StateFile:
    """The kept counters of one fleet. Reading and writing never fail: `warning` says what did."""

    path: Path
    boot: int = 0
    highest: dict[int, int] = field(default_factory=dict)
    warning: str | None = None

    @classmethod
    def load(cls, folder: Path, fleet: str) -> StateFile:
        """Read the state of a fleet; a missing file is an empty one."""
        state = cls(folder / f"{fleet}.json")
        try:
            kept = json.loads(state.path.read_text(encoding="utf-8"))
            boot = int(kept["boot"])
            highest = {int(node): int(counter) for node, counter in kept["highest"].items()}
            if not 0 <= boot < _BOOT_LIMIT or not all(0 <= c < 1 << 40 for c in highest.values()):
                raise ValueError("counter out of range")
            state.boot, state.highest = boot, highest
        except FileNotFoundError:
            pass
        except OSError as error:
            state.warning = f"cannot read {state.path}: {error.strerror}; starting without it"
        except (ValueError, KeyError, TypeError, AttributeError):
            state.warning = f"{state.path} is not a gateway's state; starting without it"
        return state

    def next_boot(self) -> int:
        """This start's boot counter: above every earlier one, also if the file was lost."""
        boot = max(self.boot + 1, minutes_since_2024())
        if boot >= _BOOT_LIMIT:
            raise VpError(f"the boot counter in {self.path} is used up: remove the file and rekey")
        self.boot = boot
        return boot

    def save(self) -> bool:
        """Write the file whole or not at all. On failure `warning` is set and False returned."""
        kept = {"boot": self.boot, "highest": {str(n): c for n, c in self.highest.items()}}
        partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("w", encoding="utf-8") as file:
                json.dump(kept, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self.path)
        except OSError as error:
            self.warning = f"cannot write {self.path}: {error.strerror}; going on without it"
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            return False
        return True
