"""Asking a gateway that already runs on this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib import error, parse, request

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet

_ANSWER_MARGIN_S = 10.0
_PROBE_TIMEOUT_S = 1.0

# Loopback is never behind a proxy, whatever the environment says.
_open = request.build_opener(request.ProxyHandler({})).open


def find_gateway(fleet: Fleet) -> Client | None:
    """The gateway of this very fleet (by name) at `[gateway] http`, or None."""
    base = f"http://{fleet.table.gateway.http}"
    try:
        with _open(f"{base}/v1/nodes", timeout=_PROBE_TIMEOUT_S) as reply:
            answer = json.load(reply)
        if answer["fleet"] != fleet.table.name:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Client(base)


class Client:
    """The HTTP API as functions. VpError if the gateway went away or refuses."""

    def __init__(self, base: str) -> None:
        self._base = base

    def nodes(self) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = self._call("/v1/nodes", None, _PROBE_TIMEOUT_S)["nodes"]
        return nodes

    def classify(self, path: Path, k: int | None, deadline_ms: float) -> dict[str, Any]:
        """Send one image file; the answer as `gateway.report.answer_json` describes it."""
        query = {"deadline_ms": deadline_ms} | ({} if k is None else {"k": k})
        address = f"/v1/classify?{parse.urlencode(query)}"
        timeout = deadline_ms / 1000 + _ANSWER_MARGIN_S
        return self._call(address, path.read_bytes(), timeout)

    def _call(self, address: str, body: bytes | None, timeout: float) -> dict[str, Any]:
        asking = request.Request(
            self._base + address,
            data=body,
            headers={"Content-Type": "application/octet-stream"} if body is not None else {},
        )
        try:
            with _open(asking, timeout=timeout) as reply:
                answer: dict[str, Any] = json.load(reply)
        except error.HTTPError as refusal:
            answer = _refusal(refusal)
        except (OSError, ValueError) as problem:
            raise VpError(f"the gateway at {self._base} does not answer: {problem}") from None
        return answer


def _refusal(refusal: error.HTTPError) -> dict[str, Any]:
    """The answer in a 503 (no node answered); VpError for everything else."""
    try:
        answer: dict[str, Any] = json.load(refusal)
    except ValueError:
        raise VpError(f"the gateway answers {refusal.code} {refusal.reason}") from None
    if "votes" not in answer:
        raise VpError(f"the gateway refuses: {answer.get('error', refusal.reason)}")
    return answer
