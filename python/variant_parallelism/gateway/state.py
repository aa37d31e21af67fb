"""What outlives the gateway: its boot counter, the highest counter seen of each node, and which
nodes the operator left out.

Without it a restarted gateway would repeat counters, which nodes take for replays, and would
believe messages recorded during an earlier run.

A start's boot counter is the kept one + 1, but at least the minutes since 2024-01-01, if the clock
seems right: so a lost file does no harm, unless the gateway had started more than once a minute, or
its clock is wrong. Then nodes drop what it sends; `gateway.recovery` notices, and raises the
counter for good.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from variant_parallelism.errors import VpError

log = logging.getLogger("variant_parallelism.gateway")

_BOOT_LIMIT = 1 << 24
_LEAP = 5 * 365 * 24 * 60
"""Minutes that a clock may have gone on since the last start: one that runs years ahead must not
use the counter up."""
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
    """The kept counters of one fleet. What cannot be read or written is logged, never raised."""

    path: Path
    key_id: str
    boot: int = 0
    highest: dict[int, int] = field(default_factory=dict)
    quarantined: dict[int, str] = field(default_factory=dict)
    """Nodes that the operator left out, and why."""
    _of_other_keys: dict[str, dict[int, int]] = field(default_factory=dict)
    _failing: bool = False

    @classmethod
    def load(cls, folder: Path, fleet: str, key: bytes | None) -> StateFile:
        """Read the state of a fleet; a missing file is an empty one.

        Counters of nodes are believed under the key that they were seen with, and no other: a
        new key makes old messages worthless, and a fleet without one has nothing to protect. Those
        of other keys are kept: another fleet of this name may take turns with this one.
        """
        state = cls(folder / f"{fleet}.json", _key_id(key))
        try:
            kept = json.loads(state.path.read_text(encoding="utf-8"))
            boot = int(kept["boot"])
            # Earlier files hold the counters of one key.
            keys = {kept["key"]: kept["highest"]} if "highest" in kept else kept["keys"]
            by_key = {str(key): _counters(highest) for key, highest in keys.items() if key}
            if not 0 <= boot < _BOOT_LIMIT:
                raise ValueError("counter out of range")
            state.boot = boot
            state.highest = by_key.pop(state.key_id, {})
            state._of_other_keys = by_key
            left_out = kept.get("quarantined", {})
            state.quarantined = {int(node): str(reason) for node, reason in left_out.items()}
        except FileNotFoundError:
            pass
        except OSError as error:
            log.warning("cannot read %s: %s; starting without it", state.path, error.strerror)
        except (ValueError, KeyError, TypeError, AttributeError):
            log.warning("%s is not a gateway's state; starting without it", state.path)
        return state

    def next_boot(self) -> int:
        """This start's boot counter: above every earlier one, also if the file was lost."""
        clock = minutes_since_2024()
        if clock >= (self.boot + _LEAP if self.boot else _BOOT_LIMIT):
            log.warning("the clock is years ahead of %s: not used for the counter in it", self.path)
            clock = 0
        boot = max(self.boot + 1, clock)
        if boot >= _BOOT_LIMIT:
            raise VpError(f"the boot counter in {self.path} is used up: remove the file and rekey")
        self.boot = boot
        return boot

    def save(self) -> None:
        """Write the file whole or not at all; a failure is logged once, until it works again."""
        self.write(self.text())

    def text(self) -> str:
        """What the file is to hold."""
        keys = dict(self._of_other_keys)
        if self.key_id:
            keys[self.key_id] = self.highest
        return json.dumps({"boot": self.boot, "keys": keys, "quarantined": self.quarantined})

    def write(self, text: str) -> None:
        """The same as `save` with the text of an earlier moment, in any thread."""
        partial = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            if not self._failing:
                log.warning("cannot write %s: %s; going on without it", self.path, error.strerror)
            self._failing = True
        else:
            self._failing = False


class StateLock:
    """Keeps other gateways away from a fleet's state, from `take` to `release`."""

    def __init__(self, folder: Path, fleet: str) -> None:
        self._path = folder / f"{fleet}.lock"
        self._file: int | None = None

    def take(self) -> None:
        """VpError if a gateway has it. Without a folder to write to there is nothing to share."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.pread(self._file, 32, 0).decode("ascii", "replace").strip() or "unknown"
            self.release()
            raise VpError(
                f"a gateway of fleet {self._path.stem} already runs here (process {who}): stop it, "
                f"or give this one a --state-dir other than {self._path.parent}"
            ) from None
        except OSError:  # A file system without locks.
            return
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _counters(kept: dict[str, int]) -> dict[int, int]:
    counters = {int(node): int(counter) for node, counter in kept.items()}
    if not all(0 <= counter < 1 << 40 for counter in counters.values()):
        raise ValueError("counter out of range")
    return counters


def _key_id(key: bytes | None) -> str:
    """Names a fleet key without giving it away; empty without one."""
    return "" if key is None else hashlib.blake2s(b"vp-state", key=key, digest_size=8).hexdigest()
