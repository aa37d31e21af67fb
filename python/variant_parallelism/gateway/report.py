"""Answers and nodes as JSON values: what the HTTP API and `--json` print."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from variant_parallelism.gateway.faults import fault_bits
from variant_parallelism.gateway.types import (
    Answer,
    Answered,
    Event,
    Faulted,
    NodeChanged,
    NodeEstimate,
    NodeStatus,
)
from variant_parallelism.wire import Fault


def answer_json(answer: Answer) -> dict[str, Any]:
    """`class` and `score` are null if no node answered; times in milliseconds."""
    return {
        "request": answer.request,
        "class": answer.class_index,
        "name": answer.class_name,
        "score": _rounded(answer.score),
        "scores": [_rounded(score) for score in answer.scores.tolist()],
        "votes": [
            {
                "node": vote.node,
                "variant": vote.variant,
                "entries": [list(entry) for entry in vote.entries],
                "latency_ms": _rounded(vote.latency_ms),
                "inference_ms": _rounded(vote.inference_ms),
                "wire_bytes": vote.wire_bytes,
                "counted": vote.counted,
            }
            for vote in answer.votes
        ],
        "missing": list(answer.missing),
        "errors": {str(node): text for node, text in answer.errors.items()},
        "latency_ms": _rounded(answer.latency_ms),
        "spared": list(answer.spared),
        "label": answer.label,
        "triggered": answer.triggered,
        "uid": answer.uid,
    }


def node_json(node: NodeStatus) -> dict[str, Any]:
    hello = node.hello
    return {
        "id": node.id,
        "variant": node.variant,
        "board": node.board,
        "transport": node.transport,
        "address": node.address,
        "state": node.state,
        "reason": node.reason,
        "boot": node.boot,
        "hello": None
        if hello is None
        else {
            "board": hello.board,
            "model_hash": hello.model_hash,
            "classes": hello.classes,
            "input": [hello.height, hello.width, hello.channels],
            "capacity": hello.capacity,
            "firmware": ".".join(map(str, hello.firmware)),
            "reset_cause": hello.reset_cause.name.lower(),
            "uptime_ms": hello.uptime_ms,
            "damaged": hello.damaged,
            "rejected": hello.rejected,
            "multicast": hello.multicast,
            "sensor": hello.sensor,
        },
        "fault": None if node.fault is None else fault_json(node.fault),
        "estimate": None if node.estimate is None else _estimate_json(node.estimate),
        "counters": node.counters.as_dict(),
    }


def _estimate_json(estimate: NodeEstimate) -> dict[str, Any]:
    return {
        name: round(value, 6) if isinstance(value, float) else value
        for name, value in asdict(estimate).items()
    }


def fault_json(fault: Fault) -> dict[str, Any]:
    """Registers in hexadecimal; `bits` are those set in CFSR and HFSR, by name."""
    return {
        "pc": f"0x{fault.pc:08x}",
        "lr": f"0x{fault.lr:08x}",
        "psr": f"0x{fault.psr:08x}",
        "cfsr": f"0x{fault.status:08x}",
        "hfsr": f"0x{fault.hard_status:08x}",
        "address": f"0x{fault.address:08x}",
        "bits": fault_bits(fault),
    }


def event_json(event: Event, variants: dict[int, str]) -> dict[str, Any]:
    """What happened, as `event` says; `variants` by node id."""
    if isinstance(event, Answered):
        return {"event": "answer", **answer_json(event.answer)}
    if isinstance(event, NodeChanged):
        return {
            "event": "node",
            "node": event.node,
            "variant": variants[event.node],
            "state": event.state,
            "reason": event.reason,
        }
    if isinstance(event, Faulted):
        return {
            "event": "fault",
            "node": event.node,
            "variant": variants[event.node],
            "fault": fault_json(event.fault),
            "text": event.text,
        }
    return {"event": "warning", "text": event.text}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
