"""Runs the measurements: virtual nodes on one core, what is measured on another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from variant_parallelism.errors import VpError
from variant_parallelism.gateway_bench.jobs import Job, Kind, Measured
from variant_parallelism.virtual import VirtualProcess, write_virtual_fleet
from variant_parallelism.virtual.sockets import free_udp_ports

KINDS: tuple[Kind, ...] = ("bare", "recv", "plain", "triggered", "images", "latency")
_SENT_BYTES = 8 << 16

Tell = Callable[[str, float], None]
"""Called with what is being measured, and how far (0 to 1) that is."""


@dataclass(frozen=True)
class Options:
    """`nodes`: fleet sizes. `seconds` of each measurement. `answers`: measure memory instead, over
    so many answers of the first fleet. `rate`: triggers a second where latency is measured."""

    nodes: tuple[int, ...] = (8, 100, 1000)
    seconds: float = 3.0
    in_flight: int = 4
    rate: float = 50.0
    answers: int | None = None
    seed: int = 1


def cores() -> tuple[int | None, int | None]:
    """Processors for what is measured and for the nodes; None where this process has only one."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else (None, None)


def run_benchmark(options: Options, tell: Tell) -> list[Measured]:
    """Every measurement, in the order of the fleets. VpError if one cannot be made."""
    measured: list[Measured] = []
    if options.answers is not None:
        return _fleet(options, options.nodes[0], ("triggered",), tell)
    for nodes in options.nodes:
        measured += _fleet(options, nodes, KINDS, tell)
    return measured


def _fleet(options: Options, nodes: int, kinds: tuple[Kind, ...], tell: Tell) -> list[Measured]:
    gateway_cpu, nodes_cpu = cores()
    with tempfile.TemporaryDirectory(prefix="vp-bench-gateway-") as name:
        folder = Path(name)
        gateway_port, node_port = free_udp_ports(2)
        path = write_virtual_fleet(folder, nodes, ports=(gateway_port, node_port), deadline_ms=2000)
        sent = folder / "sent"
        sent.write_bytes(bytes(_SENT_BYTES))
        with VirtualProcess(path, seed=options.seed, cpu=nodes_cpu, sent=sent):
            return [
                _work(
                    Job(
                        kind=kind,
                        fleet=path,
                        sent=sent,
                        state=folder,
                        seconds=options.seconds,
                        answers=options.answers,
                        in_flight=options.in_flight,
                        rate=options.rate,
                        cpu=gateway_cpu,
                    ),
                    partial(tell, f"{nodes} nodes, {kind}"),
                )
                for kind in kinds
            ]


def _work(job: Job, tell: Callable[[float], None]) -> Measured:
    tell(0.0)
    command = [
        sys.executable,
        "-m",
        "variant_parallelism.gateway_bench.worker",
        job.model_dump_json(),
    ]
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as worker,
    ):
        assert worker.stdout is not None
        last: dict[str, Any] = {}
        try:
            for line in worker.stdout:
                last = json.loads(line)
                if "progress" in last:
                    tell(last["progress"])
            worker.wait()
        finally:
            worker.terminate()
        if worker.returncode != 0:
            errors.seek(0)
            lines = errors.read().strip().splitlines()
            why = lines[-1].removeprefix("error: ") if lines else f"status {worker.returncode}"
            raise VpError(f"measuring {job.kind} failed: {why}")
    tell(1.0)
    return Measured.model_validate(last)
