"""`python -m variant_parallelism.virtual fleet.toml`: virtual nodes in a process of their own.

Reads one JSON object a line from stdin, answers each with one, and ends with stdin:
{"do": "die" | "revive", "node": 3}, {"do": "fault", "node": 3, "faults": {...}}, {"do": "counts"}.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import load_fleet
from variant_parallelism.virtual.answers import AnswerTable
from variant_parallelism.virtual.faults import NodeFaults
from variant_parallelism.virtual.nodes import VirtualNodes


def _answer(nodes: VirtualNodes, command: dict[str, Any]) -> dict[str, Any]:
    match command["do"]:
        case "die":
            nodes.die(command["node"])
        case "revive":
            nodes.revive(command["node"])
        case "fault":
            nodes.fault(command["node"], NodeFaults.model_validate(command["faults"]))
        case "counts":
            counts = {node: asdict(count) for node, count in nodes.counts().items()}
            return {"counts": counts, "cpu_s": time.process_time()}
    return {}


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m variant_parallelism.virtual")
    parser.add_argument("fleet", type=Path)
    parser.add_argument("--nodes", help="ids, separated by commas (default: every UDP node)")
    parser.add_argument("--table", type=Path, help="recorded answers, as AnswerTable.save writes")
    parser.add_argument("--answer-ms", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cpu", type=int, help="the one processor to run on")
    parser.add_argument("--sent", type=Path, help="file for the time of each request's last answer")
    options = parser.parse_args()
    if options.cpu is not None:
        os.sched_setaffinity(0, {options.cpu})
    sent = None
    if options.sent is not None:
        with options.sent.open("r+b") as file:
            sent = np.frombuffer(mmap.mmap(file.fileno(), 0), np.uint64)
    ids = None if options.nodes is None else [int(node) for node in options.nodes.split(",")]
    try:
        nodes = VirtualNodes(
            load_fleet(options.fleet),
            nodes=ids,
            table=None if options.table is None else AnswerTable.load(options.table),
            answer_ms=options.answer_ms,
            seed=options.seed,
            sent_ns=sent,
        )
        with nodes:
            _say({"ready": nodes.ids})
            for line in sys.stdin:
                _say(_answer(nodes, json.loads(line)))
    except VpError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
