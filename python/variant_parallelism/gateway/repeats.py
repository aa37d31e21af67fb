"""Holds back what a log says over and over, and counts it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class _Told:
    since: float
    times: int = 1
    held: int = 0


class Repeats:
    """At most `most` equal texts in `period_s`. Times in seconds of any clock that never goes back.

    Remembers at most `texts` of them; beyond that, everything new passes.
    """

    def __init__(self, *, most: int = 5, period_s: float = 60.0, texts: int = 1000) -> None:
        self._most = most
        self._period_s = period_s
        self._texts = texts
        self._told: dict[str, _Told] = {}

    def passes(self, text: str, now: float) -> bool:
        """Whether to say it; what is not said is counted for `due`."""
        told = self._told.get(text)
        if told is None:
            if len(self._told) < self._texts:
                self._told[text] = _Told(now)
            return True
        told.times += 1
        if told.times <= self._most:
            return True
        told.held += 1
        return False

    def due(self, now: float, *, at_end: bool = False) -> list[tuple[str, int]]:
        """Texts whose period is over (or all, `at_end`), with how often each was held back."""
        over = [
            text
            for text, told in self._told.items()
            if at_end or now >= told.since + self._period_s
        ]
        held = [(text, self._told.pop(text).held) for text in over]
        return [(text, count) for text, count in held if count]
