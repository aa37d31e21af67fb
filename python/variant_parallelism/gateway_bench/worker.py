"""`python -m variant_parallelism.gateway_bench.worker JOB`: one measurement in a fresh process.

Prints {"progress": 0..1} now and then, and one `Measured` at the end.
"""

from __future__ import annotations

import asyncio
import json
import logging
import mmap
import os
import sys
import time
from collections.abc import Callable

import numpy as np

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet, load_fleet, parse_endpoint
from variant_parallelism.gateway import Gateway
from variant_parallelism.gateway.state import StateFile
from variant_parallelism.gateway_bench import bounds
from variant_parallelism.gateway_bench.jobs import LOST_SHARE, Job, Measured
from variant_parallelism.gateway_bench.load import (
    asks_images,
    asks_triggers,
    closed_loop,
    open_loop,
)
from variant_parallelism.gateway_bench.meters import dropped_datagrams, rss_bytes
from variant_parallelism.wire import SEQUENCE_BITS

_NODES_TIMEOUT_S = 60.0
_TELL_EVERY_S = 0.2
_WARM_UP = 20


def _progress() -> Callable[[float], None]:
    told = 0.0

    def tell(done: float) -> None:
        nonlocal told
        now = time.monotonic()
        if now >= told + _TELL_EVERY_S:
            told = now
            print(json.dumps({"progress": round(min(1.0, done), 3)}), flush=True)

    return tell


async def _measure_gateway(job: Job, fleet: Fleet) -> Measured:
    count = len(fleet.nodes)
    _, port = parse_endpoint(fleet.table.gateway.listen)
    with job.sent.open("rb") as file:
        sent_ns = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint64)
    async with Gateway(fleet, state_dir=job.state) as gateway:
        up = await gateway.wait_for_nodes(count, _NODES_TIMEOUT_S)
        if up < count:
            raise VpError(f"only {up} of {count} virtual nodes are up")
        ask = asks_images(gateway) if job.kind == "images" else asks_triggers(gateway)
        for number in range(_WARM_UP):
            await ask(number)
        before = _votes(gateway)
        drops, memory = dropped_datagrams(port), rss_bytes()
        begin, cpu = time.monotonic(), time.process_time()
        if job.kind == "latency":
            tally = await open_loop(ask, job, sent_ns, _progress())
        else:
            tally = await closed_loop(ask, job, _progress())
        seconds, cpu_s = time.monotonic() - begin, time.process_time() - cpu
        added = tally.added_us
        return Measured(
            kind=job.kind,
            nodes=count,
            seconds=seconds,
            cpu_s=cpu_s,
            requests=tally.requests,
            answers=tally.answers,
            lost=tally.lost,
            incomplete=tally.incomplete,
            wrong=tally.wrong,
            predictions=_votes(gateway) - before,
            dropped=dropped_datagrams(port) - drops,
            added_us=None
            if not added
            else (float(np.percentile(added, 50)), float(np.percentile(added, 99))),
            rss_before=memory,
            rss_after=rss_bytes(),
            rss=tally.rss,
        )


def _votes(gateway: Gateway) -> int:
    return sum(node.counters.answers for node in gateway.nodes())


def _measure_bound(job: Job, fleet: Fleet) -> Measured:
    """A loop that loses what it is sent is no bound: then anew, with half as much in flight."""
    in_flight, measured = job.in_flight, [_measure_once(job, fleet, job.in_flight)]
    while job.kind != "plain" and in_flight > 1 and measured[-1].lost_share > LOST_SHARE:
        in_flight //= 2
        measured.append(_measure_once(job, fleet, in_flight))
    return max(measured, key=lambda one: one.predictions_per_s)


def _measure_once(job: Job, fleet: Fleet, in_flight: int) -> Measured:
    state = StateFile.load(job.state, fleet.table.name, fleet.key)
    boot = state.next_boot()
    state.save()
    measure = {"bare": bounds.bare, "recv": bounds.recv, "plain": bounds.plain}[job.kind]
    begin, cpu = time.monotonic(), time.process_time()
    memory = rss_bytes()
    counts = measure(fleet, boot, job.seconds, in_flight, _progress())
    # The loops count on beyond their sequence's 16 bits, into what is the next one's boot counter.
    state.boot = boot + (counts.requests >> SEQUENCE_BITS)
    state.save()
    return Measured(
        kind=job.kind,
        nodes=len(fleet.nodes),
        seconds=time.monotonic() - begin,
        cpu_s=time.process_time() - cpu,
        rss_before=memory,
        rss_after=rss_bytes(),
        requests=counts.requests,
        answers=counts.answers,
        lost=counts.lost,
        dropped=counts.dropped,
        wrong=counts.wrong,
        predictions=counts.predictions,
    )


def main() -> None:
    job = Job.model_validate_json(sys.argv[1])
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR)
    if job.cpu is not None:
        os.sched_setaffinity(0, {job.cpu})
    try:
        fleet = load_fleet(job.fleet)
        if job.kind in ("triggered", "images", "latency"):
            measured = asyncio.run(_measure_gateway(job, fleet))
        else:
            measured = _measure_bound(job, fleet)
    except VpError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    print(measured.model_dump_json(), flush=True)


if __name__ == "__main__":
    main()
