"""Who is there, as far as one has heard."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

Said = TypeVar("Said")

_MOST = 1024
"""Names that are remembered: a broker client that invents names does not fill the memory."""


class Presence(Generic[Said]):
    """The last thing that everybody said of himself, by name. Times in seconds, of one clock."""

    def __init__(self, away_s: float) -> None:
        """Who has been silent for `away_s` is no longer there."""
        self._away_s = away_s
        self._said: dict[str, Said] = {}
        self._heard: dict[str, float] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(self._said)

    def __contains__(self, name: str) -> bool:
        return name in self._said

    def __len__(self) -> int:
        return len(self._said)

    def get(self, name: str) -> Said | None:
        return self._said.get(name)

    def values(self) -> list[Said]:
        return list(self._said.values())

    def hear(self, now: float, name: str, said: Said) -> None:
        if name in self._said or len(self._said) < _MOST:
            self._said[name], self._heard[name] = said, now

    def leave(self, name: str) -> bool:
        """Whether it was there."""
        self._heard.pop(name, None)
        return self._said.pop(name, None) is not None

    def silent(self, now: float) -> list[str]:
        """Those who have been silent for too long."""
        return [name for name, heard in self._heard.items() if now - heard >= self._away_s]

    def deaf_until(self, now: float) -> None:
        """Nobody could be heard before `now`: that is nobody's silence."""
        self._heard = dict.fromkeys(self._heard, now)

    def clear(self) -> None:
        self._said.clear()
        self._heard.clear()
