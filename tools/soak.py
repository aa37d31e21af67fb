"""A soak of the gateway: boards and virtual nodes that die and return, for as long as you like.

    .venv/bin/python tools/soak.py --minutes 60 --out soak

Runs `vp gateway` with every sink on, five emulated boards beside virtual nodes in one fleet,
requests over HTTP in a closed loop. Meanwhile nodes die, freeze, lie, stall and forge; the broker
is killed; the disk is full; the fleet file changes or breaks; strangers send garbage. Ends with
status 1 if a promise was broken: an answer lost while a node lived, a vote or an answer that is not
what the models say, a sink's count that does not add up, memory that grows, a gateway that ended.
SIGINT and SIGTERM end it early, in order, with the same checks; a second one ends it at once.
Writes report.json, soak.png (with matplotlib), the gateway's log and the fleet file into --out.

Memory is flat if it grows by at most 100 kB a minute over the second half (of a run of at least 10
minutes), and by at most 24 MB within it. Needs QEMU, a compiler for Arm, Mosquitto, and the
extras `demo` and `mqtt`. As root the disk is a tmpfs; else RLIMIT_FSIZE stands for it.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.progress import Progress
from soaking.load import Load, Tally
from soaking.report import plot, print_report, write_report
from soaking.sinks import SinkCounts, as_json, look_at_sinks, read_sinks
from soaking.stage import Stage, set_up
from soaking.trouble import Trouble
from soaking.verify import (
    SLOPE_SHARE,
    Findings,
    counters_of,
    read_counters,
    violations,
)
from soaking.watch import LineCounter, Samples, Watch

from variant_parallelism import AsyncClient
from variant_parallelism.client import GatewayError
from variant_parallelism.errors import VpError

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_START_S = 60.0
_SINKS_S = 60.0


async def _wait_for_nodes(stage: Stage) -> None:
    """Until every node is up; VpError if the gateway ends, or a node stays away."""
    async with AsyncClient(f"http://{stage.fleet.table.gateway.http}") as client:
        end = time.monotonic() + _START_S
        states: dict[int, str] = {}
        while time.monotonic() < end:
            if stage.gateway.status is not None:
                raise VpError(f"the gateway ended at its start: see {stage.gateway.log}")
            try:
                states = {node.id: node.state for node in await client.nodes()}
            except GatewayError:
                states = {}
            if states and set(states.values()) == {"up"}:
                return
            await asyncio.sleep(0.2)
    away = [node for node, state in states.items() if state != "up"]
    raise VpError(f"nodes that do not come up: {away}" if states else "the gateway does not answer")


async def _drain_sinks(stage: Stage) -> None:
    """Until nothing waits in a sink's queue, or nothing moves any more."""
    end = time.monotonic() + _SINKS_S
    while time.monotonic() < end:
        try:
            sinks = await asyncio.to_thread(read_sinks, stage)
        except httpx.HTTPError:
            return
        if not any(sink.waiting for sink in sinks.values()):
            return
        await asyncio.sleep(0.5)


async def _soak(
    stage: Stage, options: argparse.Namespace, console: Console, bar: Progress
) -> dict[str, Any]:
    seconds = options.minutes * 60
    ending = _Ending()
    await _wait_for_nodes(stage)
    begin = time.monotonic()
    task = bar.add_task("soaking", total=seconds)

    def say(text: str) -> None:
        console.print(f"{time.monotonic() - begin:7.1f} s  {text}", highlight=False)

    load = Load(stage, options.in_flight)
    lines = LineCounter(stage.disk.folder / "events.jsonl")
    watch = Watch(stage, load.tally, lines)
    trouble = Trouble(stage, options.seed, say)
    loading, watching = asyncio.create_task(load.run()), asyncio.create_task(watch.run())
    troubling = asyncio.create_task(trouble.run(seconds))
    while not troubling.done() and stage.gateway.status is None:
        await asyncio.wait([troubling], timeout=1.0)
        if ending.wanted:
            trouble.stop()
        bar.update(task, completed=time.monotonic() - begin)
    if troubling.done():
        troubling.result()
    else:
        troubling.cancel()
    load.stop()
    await loading
    elapsed = time.monotonic() - begin
    alive = stage.gateway.status is None
    if alive:
        await _drain_sinks(stage)
        sinks, counters = await asyncio.to_thread(_last_look, stage)
        watching.cancel()
        status: int | None = await asyncio.to_thread(stage.gateway.stop)
    else:
        sinks, counters, status = {}, {}, stage.gateway.status
        watching.cancel()
    await asyncio.to_thread(look_at_sinks, stage, sinks, lines)
    broken = violations(
        Findings(
            seconds=elapsed,
            tally=load.tally,
            samples=watch.samples,
            counters=counters,
            sinks=sinks,
            lines=lines,
            reloads_missed=trouble.reloads_missed,
            status=status,
            tracebacks=stage.gateway.tracebacks(),
        )
    )
    return {
        "minutes": options.minutes,
        "ended_early": ending.wanted,
        "seed": options.seed,
        "nodes": {"emulated": len(stage.boards), "virtual": options.virtual},
        "disk": stage.disk.way,
        "load": _load_json(load.tally, elapsed),
        "memory": _memory_json(watch.samples),
        "trouble": dict(sorted(trouble.done.items())) | {"reloads missed": trouble.reloads_missed},
        "counters": counters_of(counters),
        "virtual": asdict(stage.virtual.total()),
        "sinks": as_json(sinks),
        "problems": dict(load.tally.problems),
        "broken": broken,
        "samples": asdict(watch.samples),
    }


def _last_look(stage: Stage) -> tuple[dict[str, SinkCounts], dict[str, int]]:
    """The counts of sinks and gateway; none, which breaks promises, if it no longer answers."""
    try:
        return read_sinks(stage), read_counters(stage)
    except (httpx.HTTPError, ValueError):
        return {}, {}


class _Ending:
    """Whether somebody asked for the end, by SIGINT or SIGTERM."""

    def __init__(self) -> None:
        self.wanted = False
        self._task = asyncio.current_task()
        for number in _SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._asked)

    def _asked(self) -> None:
        if self.wanted and self._task is not None:
            self._task.cancel()
        self.wanted = True


def _load_json(tally: Tally, seconds: float) -> dict[str, Any]:
    values = {name: value for name, value in asdict(tally).items() if isinstance(value, int)}
    p50, p99 = np.percentile(tally.latencies_ms or [0.0], [50, 99])
    return values | {
        "seconds": seconds,
        "answers_per_s": tally.answered / seconds,
        "votes_per_s": tally.votes / seconds,
        "latency_p50_ms": float(p50),
        "latency_p99_ms": float(p99),
    }


def _memory_json(samples: Samples) -> dict[str, float]:
    rss = samples.rss or [0]
    return {
        "first_mb": rss[0] / 1e6,
        "last_mb": rss[-1] / 1e6,
        "most_mb": max(rss) / 1e6,
        "slope_kb_per_min_second_half": samples.slope_kb_per_min(SLOPE_SHARE),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--out", type=Path, default=Path("soak"))
    parser.add_argument("--virtual", type=int, default=60, help="virtual nodes")
    parser.add_argument("--no-boards", action="store_true", help="virtual nodes alone")
    parser.add_argument("--in-flight", type=int, default=8, help="requests at a time")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.minutes <= 0 or options.virtual < 3 or options.in_flight < 1:
        parser.error("--minutes above 0, --virtual from 3, --in-flight from 1")
    console = Console()
    for number in _SIGNALS:
        # A shell that starts it in the background has SIGINT ignored.
        signal.signal(number, signal.default_int_handler)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        with (
            ExitStack() as stack,
            Progress(console=console, transient=True, disable=not console.is_terminal) as bar,
        ):
            stage = set_up(
                stack, options.out, not options.no_boards, options.virtual, options.seed, console
            )
            report = asyncio.run(_soak(stage, options, console, bar))
    except VpError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: {error.filename or options.out}: {error.strerror}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    samples = Samples(**report["samples"])
    write_report(options.out, report)
    print_report(console, report)
    if not plot(options.out / "soak.png", samples):
        console.print("no plot: pip install matplotlib")
    console.print(f"written to {options.out / 'report.json'}")
    return 1 if report["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
