"""`vp top`'s loop: polls, events, keys and the screen."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from rich.console import Console
from rich.live import Live

from variant_parallelism.client import AsyncClient, GatewayError
from variant_parallelism.top.model import SORTS, Model, Polled
from variant_parallelism.top.view import render

_POLL_S = 2.0
_RETRY_S = 1.0
_DRAW_S = 0.25
_ANSWERS_PER_S = 5.0
_UNAUTHORIZED = 401


def watch(client: AsyncClient, console: Console) -> None:
    """Show a gateway's fleet until `q` or Ctrl-C; where there is no terminal, once.

    GatewayError if it wants another token; without a terminal, also if it does not answer.
    """
    with suppress(KeyboardInterrupt):
        asyncio.run(_live(client, console) if console.is_terminal else _once(client, console))


async def _once(client: AsyncClient, console: Console) -> None:
    model = Model()
    async with client:
        model.poll(await _poll(client), time.monotonic())
    console.print(render(model, console.width, console.height, live=False))


async def _live(client: AsyncClient, console: Console) -> None:
    model, done = Model(), asyncio.Event()
    view = Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop")
    with view, _keys(model, done):
        async with client, _running(model, client, done) as work:
            while not done.is_set():
                view.update(render(model, console.width, console.height), refresh=True)
                with suppress(TimeoutError):
                    await asyncio.wait_for(done.wait(), _DRAW_S)
    for task in work:
        if task.done() and not task.cancelled():
            task.result()


@asynccontextmanager
async def _running(
    model: Model, client: AsyncClient, done: asyncio.Event
) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Both ways of asking, at the same time; one that fails for good ends the whole."""
    work = [
        asyncio.create_task(_ask_always(model, client)),
        asyncio.create_task(_listen_always(model, client)),
    ]
    for task in work:
        task.add_done_callback(lambda _: done.set())
    try:
        yield work
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)


async def _ask_always(model: Model, client: AsyncClient) -> None:
    while True:
        try:
            model.poll(await _poll(client), time.monotonic())
            await asyncio.sleep(_POLL_S)
        except GatewayError as error:
            await _lost(model, error)


async def _listen_always(model: Model, client: AsyncClient) -> None:
    while True:
        try:
            async for event in client.events(answers_per_s=_ANSWERS_PER_S):
                model.hear(event, time.monotonic())
        except GatewayError as error:
            await _lost(model, error)


async def _lost(model: Model, error: GatewayError) -> None:
    if error.status == _UNAUTHORIZED:
        raise error
    model.lose(str(error))
    await asyncio.sleep(_RETRY_S)


async def _poll(client: AsyncClient) -> Polled:
    fleet, nodes, counters, history = await asyncio.gather(
        client.fleet(), client.nodes(), client.counters(), client.history("10min")
    )
    return Polled(fleet, nodes, counters, history)


@contextmanager
def _keys(model: Model, done: asyncio.Event) -> Iterator[None]:
    """Single keys from the terminal: `q` ends, a sort's first letter sorts."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    def press() -> None:
        keys = os.read(descriptor, 64).decode(errors="replace")
        if not keys or "q" in keys.lower():
            done.set()
        for sort in SORTS:
            if sort[0] in keys:
                model.sort = sort

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    loop = asyncio.get_running_loop()
    try:
        tty.setcbreak(descriptor)
        loop.add_reader(descriptor, press)
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
