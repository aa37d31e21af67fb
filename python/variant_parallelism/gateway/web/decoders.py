"""The threads that turn files into pixels and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from variant_parallelism.gateway.web.errors import Problem

T = TypeVar("T")

LARGE_PIXELS = 2_000_000
"""Decoded in some 20 ms; larger images must not keep others waiting."""

_THREADS = 2
_MOST_LARGE = 4
"""Being decoded, one at a time since each may take 200 MB, or waiting for that."""
_RETRY_S = 1


class Decoders:
    """A few threads for small images, and one of their own for the large."""

    def __init__(self) -> None:
        self._small = ThreadPoolExecutor(_THREADS, thread_name_prefix="vp-decode")
        self._large = ThreadPoolExecutor(1, thread_name_prefix="vp-decode-large")
        self._waiting = 0

    async def run(self, work: Callable[..., T], *arguments: object) -> T:
        """The result of work that is soon done."""
        return await asyncio.get_running_loop().run_in_executor(self._small, work, *arguments)

    async def run_large(self, work: Callable[..., T], *arguments: object) -> T:
        """The result of work that may take seconds. Problem (503) if too much of it waits."""
        if self._waiting >= _MOST_LARGE:
            raise Problem(
                503,
                f"{self._waiting} images of more than {LARGE_PIXELS // 1_000_000} million pixels "
                "wait already: try again, or shrink them",
                _RETRY_S,
            )
        self._waiting += 1
        working = asyncio.get_running_loop().run_in_executor(self._large, work, *arguments)
        # Also when the caller has gone: the thread goes on with it.
        working.add_done_callback(self._done)
        return await asyncio.shield(working)

    def close(self) -> None:
        for threads in (self._small, self._large):
            threads.shutdown(wait=False, cancel_futures=True)

    def _done(self, working: asyncio.Future[T]) -> None:
        self._waiting -= 1
        if not working.cancelled():
            working.exception()
