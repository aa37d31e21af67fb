"""Asking a gateway that already runs on this machine."""

from __future__ import annotations

import io
import json
from http.client import HTTPException
from typing import Any
from urllib import error, parse, request

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet

_ANSWER_MARGIN_S = 10.0
_PROBE_TIMEOUT_S = 3.0

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
    except (OSError, HTTPException, ValueError, KeyError, TypeError):
        return None
    return Client(base)


class Client:
    """The HTTP API as functions. VpError if the gateway went away or refuses."""

    def __init__(self, base: str) -> None:
        self._base = base

    def nodes(self) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = self._call("/v1/nodes", None, _PROBE_TIMEOUT_S)["nodes"]
        return nodes

    def classify(
        self, image: NDArray[np.uint8], k: int | None, deadline_ms: float
    ) -> dict[str, Any]:
        """Send one image (H, W, C); the answer as `gateway.report.answer_json` describes it."""
        query = {"deadline_ms": deadline_ms} | ({} if k is None else {"k": k})
        address = f"/v1/classify?{parse.urlencode(query)}"
        timeout = deadline_ms / 1000 + _ANSWER_MARGIN_S
        return self._call(address, _png(image), timeout)

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
        except (OSError, HTTPException, ValueError) as problem:
            raise VpError(f"the gateway at {self._base} does not answer: {_why(problem)}") from None
        return answer


def _png(image: NDArray[np.uint8]) -> bytes:
    """An image without loss, so that a gateway takes what was checked and nothing larger."""
    out = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(out, "PNG")
    return out.getvalue()


def _why(problem: Exception) -> str:
    if isinstance(problem, HTTPException | ValueError):
        return f"it stopped, or is no gateway ({type(problem).__name__})"
    return str(problem)


def _refusal(refusal: error.HTTPError) -> dict[str, Any]:
    """The answer in a 503 (no node answered); VpError for everything else."""
    try:
        answer: dict[str, Any] = json.load(refusal)
    except (OSError, HTTPException, ValueError):
        raise VpError(f"the gateway answers {refusal.code} {refusal.reason}") from None
    if not isinstance(answer, dict):
        raise VpError(f"the gateway answers {refusal.code} {refusal.reason}")
    if "votes" not in answer:
        raise VpError(f"the gateway refuses: {answer.get('error', refusal.reason)}")
    return answer
