"""Boot counters that vp-flash has given out: a block must begin above all that its node used."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet
from variant_parallelism.gateway.state import StateFile, default_state_dir
from variant_parallelism.wire import SEQUENCE_BITS

_LIMIT = 1 << 24


class BootRecord:
    """The counters of one fleet, in `flash/<fleet>.json` of the state folder, under its key."""

    def __init__(self, fleet: Fleet, state_dir: Path | None = None) -> None:
        folder = state_dir or default_state_dir()
        self._fleet = fleet
        self._path = folder / "flash" / f"{fleet.table.name}.json"
        state = StateFile.load(folder, fleet.table.name, fleet.key)
        self._seen = {node: counter >> SEQUENCE_BITS for node, counter in state.highest.items()}

    def next(self, node: int, used: int) -> int:
        """A counter above `used`, the gateway's memory and this record; kept before it is returned.

        VpError if the record cannot be written, or no counter is left.
        """
        with self._locked():
            kept = self._read()
            boots = kept.setdefault(self._key_id(), {})
            boot = max(used, self._seen.get(node, 0), boots.get(node, 0)) + 1
            if boot >= _LIMIT:
                raise VpError(
                    f"node {node} has used up its boot counters: give the fleet a new key"
                )
            boots[node] = boot
            self._write(kept)
            return boot

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock = self._path.with_suffix(".lock").open("w")
        except OSError as error:
            raise VpError(f"cannot write to {self._path.parent}: {error.strerror}") from None
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _read(self) -> dict[str, dict[int, int]]:
        """By key: another fleet of this name may take turns, and an old key may come back."""
        try:
            kept = json.loads(self._path.read_text(encoding="utf-8"))
            # Earlier files hold the counters of one key.
            keys = {kept["key"]: kept["boots"]} if "boots" in kept else kept["keys"]
            return {
                str(key): {int(node): int(boot) for node, boot in boots.items()}
                for key, boots in keys.items()
            }
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise VpError(f"cannot read {self._path}: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise VpError(
                f"{self._path} is damaged: remove it, and give the fleet a new key if it has one"
            ) from None

    def _write(self, kept: dict[str, dict[int, int]]) -> None:
        partial = self._path.with_suffix(".part")
        try:
            with partial.open("w", encoding="utf-8") as file:
                json.dump({"keys": kept}, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self._path)
        except OSError as error:
            raise VpError(f"cannot write {self._path}: {error.strerror}") from None

    def _key_id(self) -> str:
        """Names the key without giving it away: under a new one, counters begin anew."""
        key = self._fleet.key
        if key is None:
            return ""
        return hashlib.blake2s(b"vp-flash", key=key, digest_size=8).hexdigest()
