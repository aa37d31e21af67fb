"""Threads for long texts: those of the event loop may all be waiting for slow names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_THREADS = ThreadPoolExecutor(2, thread_name_prefix="vp-text")


async def in_thread(work: Callable[..., T], *arguments: object) -> T:
    """The result of work that is soon done, which answers must not wait for."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, work, *arguments)
