"""Writes what outlives the gateway without making it wait: a disk may be slow, or hang."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable

from variant_parallelism.gateway.state import StateFile

_PERIOD_S = 60.0

log = logging.getLogger("variant_parallelism.gateway")


class StateKeeper:
    """One gateway's state file: at most one write at a time, always of the newest state.

    To be used on the event loop's thread.
    """

    def __init__(self, state: StateFile, highest: Callable[[], dict[int, int]]) -> None:
        """`highest` gives the nodes' counters of this moment."""
        self._state = state
        self._highest = highest
        self._next: str | None = None
        """What is to be written after what is being written."""
        self._idle = asyncio.Event()
        self._idle.set()

    def save(self) -> None:
        """Have the state of this moment written; returns at once."""
        self._state.highest.update(self._highest())
        text = self._state.text()
        if self._idle.is_set():
            self._begin(text)
        else:
            self._next = text

    async def save_now_and_then(self) -> None:
        """Once a minute, until cancelled."""
        while True:
            await asyncio.sleep(_PERIOD_S)
            self.save()

    async def written(self, limit_s: float) -> bool:
        """Wait for at most `limit_s` until all is written, or has failed; whether that is so."""
        try:
            async with asyncio.timeout(limit_s):
                await self._idle.wait()
        except TimeoutError:
            log.warning("%s is not written after %g s; going on", self._state.path, limit_s)
            return False
        return True

    def _begin(self, text: str) -> None:
        self._idle.clear()
        loop = asyncio.get_running_loop()

        def write() -> None:
            self._state.write(text)
            with contextlib.suppress(RuntimeError):  # The loop was closed meanwhile.
                loop.call_soon_threadsafe(self._end)

        # Not one of an executor, whose threads are waited for at the end of the program.
        threading.Thread(target=write, name="vp-state", daemon=True).start()

    def _end(self) -> None:
        text, self._next = self._next, None
        if text is None:
            self._idle.set()
        else:
            self._begin(text)
