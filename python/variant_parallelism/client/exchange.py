"""What both clients send and understand, without I/O."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from variant_parallelism.api import (
    COUNTERS,
    EVENT,
    Answer,
    Event,
    FleetCounters,
    FleetInfo,
    Node,
    Nodes,
)
from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet, load_fleet, parse_endpoint, read_token

T = TypeVar("T")

Image: TypeAlias = NDArray[np.uint8] | bytes | str | os.PathLike[str]
"""Pixels (H, W) or (H, W, 1 to 4 channels), a PNG or JPEG file's content, or its path."""

DEFAULT_URL = "http://127.0.0.1:8470"
REPLY_TIMEOUT_S = 10.0
"""For a reply to begin and for each of its pieces, beyond the deadline of a request."""
HEARTBEAT_S = 10.0
"""`/v1/events` says something at least that often."""
_MOST_CALLS = 32
"""Of one client at a time: half of what a gateway takes; further ones wait in the client."""
_IDLE_S = 2.0
"""Idle connections are closed sooner than the gateway does it."""


class GatewayError(VpError):
    """The gateway does not answer, or refuses.

    `status` is its HTTP status, if it answered; `retry_after` the seconds after which to try
    again, where it is only busy.
    """

    def __init__(
        self, text: str, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(" ".join(text.split()))
        self.status = status
        self.retry_after = retry_after


@dataclass(frozen=True)
class Ask(Generic[T]):
    """One HTTP request and what its reply means."""

    method: str
    path: str
    understand: Callable[[httpx.Response], T]
    query: Mapping[str, object] = field(default_factory=dict)
    content: bytes | None = None
    json: object = None

    def arguments(self, timeout_s: float) -> dict[str, Any]:
        """For `httpx`'s `stream`."""
        arguments: dict[str, Any] = {
            "method": self.method,
            "url": self.path,
            "params": {name: value for name, value in self.query.items() if value is not None},
            # Those that wait for their turn do so for as long as it takes.
            "timeout": httpx.Timeout(timeout_s, pool=None),
        }
        if self.content is not None:
            arguments["content"] = self.content
            arguments["headers"] = {"Content-Type": "application/octet-stream"}
        if self.json is not None:
            arguments["json"] = self.json
        return arguments


def fleet() -> Ask[FleetInfo]:
    return Ask("GET", "/v1/fleet", lambda reply: FleetInfo.model_validate_json(reply.content))


def nodes() -> Ask[list[Node]]:
    return Ask("GET", "/v1/nodes", lambda reply: Nodes.model_validate_json(reply.content).nodes)


def counters() -> Ask[FleetCounters]:
    return Ask("GET", "/v1/counters", lambda reply: COUNTERS.validate_json(reply.content))


def history(span: str, node: int | None) -> Ask[dict[str, Any]]:
    query = {"span": span, "node": node}
    return Ask("GET", "/v1/history", lambda reply: dict(reply.json()), query)


def picture(request: int) -> Ask[bytes]:
    return Ask("GET", f"/v1/inputs/{request}.png", lambda reply: reply.content)


def quarantine(node: int, on: bool, reason: str | None) -> Ask[Node]:
    wanted = {"on": on} | ({} if reason is None else {"reason": reason})
    path = f"/v1/nodes/{node}/quarantine"
    return Ask("POST", path, lambda reply: Node.model_validate_json(reply.content), json=wanted)


def trigger(k: int | None, deadline_ms: float | None, label: int | str | None) -> Ask[Answer]:
    query = {"k": k, "deadline_ms": deadline_ms, "label": label}
    return Ask("POST", "/v1/trigger", _answer, query)


def classify(
    image: Image,
    k: int | None,
    deadline_ms: float | None,
    label: int | str | None,
) -> Ask[Answer]:
    """VpError if `image` is no image, or its file cannot be read."""
    query: dict[str, object] = {"k": k, "deadline_ms": deadline_ms, "label": label}
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim not in (2, 3):
            raise VpError(
                f"the image is {image.dtype} of shape {image.shape}: give uint8 (height, width) or "
                "(height, width, channels)"
            )
        height, width, channels = (*image.shape, 1)[:3]
        query |= {"height": height, "width": width, "channels": channels}
        content = image.tobytes()
    else:
        content = image if isinstance(image, bytes) else read(image)
    return Ask("POST", "/v1/classify", _answer, query, content)


def events(answers_per_s: float | None) -> Ask[None]:
    query = {"answers_per_s": answers_per_s}
    return Ask("GET", "/v1/events", lambda reply: None, query)


def _answer(reply: httpx.Response) -> Answer:
    return Answer.model_validate_json(reply.content)


def read(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise VpError(f"cannot read image {path}: {error.strerror}") from None
    except ValueError as error:
        raise VpError(f"cannot read image {os.fspath(path)!r}: {error}") from None


_DEADLINE_S = 60.0

_MUTE = "it hung up without a word"


@contextmanager
def told(base: str) -> Iterator[None]:
    """Whatever goes wrong on the way to the gateway and back, as GatewayError."""
    try:
        yield
    except httpx.TimeoutException as error:
        what = "cannot be reached" if isinstance(error, httpx.ConnectTimeout) else "is silent"
        raise GatewayError(f"the gateway at {base} does not answer: it {what}") from None
    except (httpx.NetworkError, OSError) as error:
        raise GatewayError(
            f"the gateway at {base} does not answer: {str(error) or _MUTE}"
        ) from None
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise GatewayError(f"{base} is no address of a gateway: {error}") from None
    except (httpx.HTTPError, ValueError) as error:
        raise GatewayError(
            f"the gateway at {base} does not answer: it stopped, or is no gateway "
            f"({type(error).__name__})"
        ) from None


def understood(ask: Ask[T], reply: httpx.Response) -> T:
    """What a reply says whose body was read; GatewayError if it refuses, ValueError if odd."""
    if reply.status_code < 400:
        return ask.understand(reply)
    if reply.status_code == 503:
        # Where no node answered, that is an answer, too.
        with suppress(ValueError, httpx.StreamError):
            return ask.understand(reply)
    raise refused(reply)


def refused(response: httpx.Response) -> GatewayError:
    """A refusal; of one that was cut off, or is no gateway's, what its status says."""
    status = response.status_code
    try:
        text = json.loads(response.content)["error"]
    except (ValueError, KeyError, TypeError, httpx.StreamError):
        return GatewayError(f"the gateway answers {status} {response.reason_phrase}", status)
    if status == 401:
        return GatewayError(f"the gateway wants its token: {text}", status)
    try:
        retry_after = float(response.headers["Retry-After"])
    except (KeyError, ValueError):
        retry_after = None
    return GatewayError(f"the gateway refuses: {text}", status, retry_after)


class EventReader:
    """Server-sent events, line by line."""

    def __init__(self) -> None:
        self._data: list[str] = []

    def push(self, line: str) -> Event | None:
        """The event that a line ends, if any; None for one that this version does not know."""
        if line.startswith("data:"):
            self._data.append(line[5:].removeprefix(" "))
        if line or not self._data:
            return None
        text = "\n".join(self._data)
        self._data.clear()
        try:
            return EVENT.validate_json(text)
        except ValidationError as problem:
            if all(error["type"] == "union_tag_invalid" for error in problem.errors()):
                return None
            raise


@dataclass(frozen=True)
class Target:
    """Where a gateway is, and what it wants to know."""

    base: str
    token: str | None

    def options(self) -> dict[str, Any]:
        """For `httpx.Client` and `httpx.AsyncClient`."""
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        host = httpx.URL(self.base).host
        return {
            "base_url": self.base,
            "headers": headers,
            "limits": httpx.Limits(
                max_connections=_MOST_CALLS,
                max_keepalive_connections=_MOST_CALLS,
                keepalive_expiry=_IDLE_S,
            ),
            # This machine is never behind a proxy, whatever the environment says.
            "trust_env": host not in ("127.0.0.1", "::1", "localhost"),
        }


class Deadline:
    """A fleet's own, which a reload of the gateway may change."""

    def __init__(self) -> None:
        self._ms = 0.0
        self._until = float("-inf")

    def ms(self) -> float | None:
        """What was learnt within the last minute."""
        return self._ms if time.monotonic() < self._until else None

    def learn(self, ms: float) -> float:
        """`ms` itself, which holds for a minute."""
        self._ms, self._until = ms, time.monotonic() + _DEADLINE_S
        return ms


def target_of(gateway: Fleet | str | os.PathLike[str], token: str | None) -> Target:
    """A URL, or a fleet (file) whose gateway it is; VpError if it is neither."""
    if isinstance(gateway, str) and gateway.startswith(("http://", "https://")):
        target = Target(gateway.rstrip("/"), token)
        with told(gateway):
            target.options()
            port = httpx.URL(gateway).port
        if port is not None and not 0 < port < 1 << 16:
            raise GatewayError(f"{gateway} is no address of a gateway: ports are 1 to 65535")
        return target
    fleet = gateway if isinstance(gateway, Fleet) else load_fleet(Path(gateway))
    host, port = parse_endpoint(fleet.table.gateway.http)
    # A gateway that listens everywhere is here.
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    return Target(base, read_token(fleet) if token is None else token)
