"""The gateway's own log: one line an event, for people or as JSON, from a thread of its own."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

from variant_parallelism.gateway.line_writer import LineWriter
from variant_parallelism.gateway.repeats import Repeats
from variant_parallelism.gateway.report import answer_json, event_json
from variant_parallelism.gateway.types import Answered, Event, Faulted, NodeChanged, Warned
from variant_parallelism.plain_text import printable

_FLUSH_S = 2.0


@dataclass(frozen=True, slots=True)
class _Entry:
    """Something to say at `time` (seconds since 1970): an event, or a text with fields."""

    time: float
    level: int
    text: str
    event: Event | None = None
    fields: Mapping[str, Any] | None = None


class EventLog(logging.Handler):
    """Takes events of the gateway and records of `logging`; never waits and never raises.

    For people, a line is the time of day and a text. As JSON it is an object: `time` (UTC),
    `level`, `event` ("log" for what is no event of its own) and what belongs to the event. The same
    warning is written five times a minute, then counted.
    """

    def __init__(self, file: int | None, as_json: bool, variants: dict[int, str]) -> None:
        """`file` is the descriptor to write to; `variants` of nodes by id, which may change."""
        super().__init__()
        self._as_json = as_json
        self._variants = variants
        self._repeats = Repeats()
        self._writer: LineWriter[_Entry] = LineWriter(file, self._lines, self._held, self._lost)

    def emit(self, record: logging.LogRecord) -> None:
        """A record of `logging`. `extra={"event": ...}` holds the Event that it tells of,
        `extra={"fields": {...}}` what its JSON form has instead of a text."""
        try:
            text = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                text += f": {record.exc_info[1]!r}"
                if not self._as_json:
                    text = self.format(record)
            self._writer.put(
                _Entry(
                    record.created,
                    record.levelno,
                    text,
                    getattr(record, "event", None),
                    getattr(record, "fields", None),
                )
            )
        except Exception:
            self.handleError(record)

    def tell(self, event: Event) -> None:
        """An event of the gateway. Warnings and faults come as records of `logging`."""
        if isinstance(event, Warned | Faulted):
            return
        bad = isinstance(event, NodeChanged) and event.state != "up"
        level = logging.WARNING if bad else logging.INFO
        self._writer.put(_Entry(time.time(), level, "", event))

    def handleError(self, record: logging.LogRecord) -> None:
        """A record that cannot be written must not stop what wrote it."""

    def close(self) -> None:
        """Write what waits, for at most two seconds."""
        self._writer.close(_FLUSH_S)
        super().close()

    # In the writer's thread.

    def _lines(self, entry: _Entry) -> list[str]:
        text = entry.text or self._text_of(entry.event)
        # Answers and states are data in JSON: none may be missing.
        is_data = self._as_json and isinstance(entry.event, Answered | NodeChanged)
        if (
            entry.level >= logging.WARNING
            and not is_data
            and not self._repeats.passes(text, time.monotonic())
        ):
            return []
        return [self._line(entry, text)]

    def _held(self, at_end: bool) -> list[str]:
        return [
            self._line(_Entry(time.time(), logging.WARNING, ""), f"{_times(count)} more: {text}")
            for text, count in self._repeats.due(time.monotonic(), at_end=at_end)
        ]

    def _lost(self, count: int) -> str:
        entry = _Entry(time.time(), logging.WARNING, "")
        return self._line(entry, f"{count} lines of this log were lost: it could not be written")

    def _line(self, entry: _Entry, text: str) -> str:
        if not self._as_json:
            clock = time.strftime("%H:%M:%S", time.localtime(entry.time))
            # Tracebacks have several lines.
            return f"{clock} " + "\n".join(map(printable, text.split("\n")))
        stamp = datetime.fromtimestamp(entry.time, UTC).isoformat(timespec="milliseconds")
        said: dict[str, Any] = {"time": stamp, "level": logging.getLevelName(entry.level).lower()}
        if entry.event is not None:
            said |= event_json(entry.event, self._variants)
        elif entry.fields is not None:
            said |= entry.fields
        else:
            said |= {"event": "log", "text": text}
        return json.dumps(said)

    def _text_of(self, event: Event | None) -> str:
        if isinstance(event, NodeChanged):
            variant = self._variants.get(event.node, "")
            return f"node {event.node} ({variant}) {event.state}: {event.reason}"
        if isinstance(event, Answered):
            return summary(answer_json(event.answer))
        return "" if event is None else event.text


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def summary(answer: dict[str, Any]) -> str:
    """One line about an answer in its JSON form."""
    if answer["class"] is None:
        return f"request {answer['request']}: no node answered in {answer['latency_ms']:.0f} ms"
    nodes = len(answer["votes"]) + len(answer["missing"])
    spared = f" ({len(answer['spared'])} spared)" if answer["spared"] else ""
    return (
        f"request {answer['request']}: {answer['name']}, score {answer['score']:.3f}, "
        f"{len(answer['votes'])} of {nodes} nodes{spared}, {answer['latency_ms']:.0f} ms"
    )


def descriptor_of(stream: TextIO | None) -> int | None:
    """What to write a log to; None where the program was started without it.

    The standard descriptors that are closed are pointed at nothing: otherwise the next file or
    socket would get their numbers, and whatever a library prints there.
    """
    while (spare := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(spare)
    if stream is None:
        return None
    stream.flush()
    return stream.fileno()


def start_log(as_json: bool, variants: dict[int, str]) -> EventLog:
    """Have everything that the program logs written to standard output."""
    log = EventLog(descriptor_of(sys.stdout), as_json, variants)
    logging.basicConfig(handlers=[log], level=logging.INFO, force=True)
    for noisy in ("asyncio", "uvicorn", "httpx", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return log
