"""Server-sent events: what subscribers get, what is skipped, and who is cut off."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest

from fleet_factory import make_fleet, make_image
from served_gateway import Served, serve
from sink_events import answered, one_of_each, until
from variant_parallelism import api
from variant_parallelism.client import AsyncClient, Client, GatewayError
from variant_parallelism.client.exchange import EventReader
from variant_parallelism.gateway import Event, NodeChanged, Warned
from variant_parallelism.gateway.web import events, protocol
from variant_parallelism.gateway.web.events import MAX_SUBSCRIBERS, EventHub, Subscriber


class Told:
    """A gateway as far as the hub listens to it."""

    def __init__(self) -> None:
        self.fleet = make_fleet()
        self.listeners: list[Callable[[Event], None]] = []
        self.counters = api.HttpCounters()
        self.hub = EventHub(self, self.counters)
        self.hub.start()

    def on_event(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def tell(self, *told: Event) -> None:
        for event in told:
            for listener in self.listeners:
                listener(event)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are encoded however long it takes on a busy machine."""
    monkeypatch.setattr(events, "_MOST_S", 60.0)


def run(test: Callable[[Told], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(60):
            told = Told()
            await test(told)
            told.hub.close()

    asyncio.run(main())


async def taken(subscriber: Subscriber) -> list[api.Event]:
    """What a subscriber gets next."""
    await subscriber.wake.wait()
    reader = EventReader()
    pushed = map(reader.push, subscriber.take().decode().split("\n"))
    return [event for event in pushed if event is not None]


def test_every_kind_of_event_is_told(tmp_path: Path) -> None:
    async def test(told: Told) -> None:
        subscriber = told.hub.subscribe(None)
        told.tell(*one_of_each())
        got = await taken(subscriber)
        assert [event.event for event in got] == ["answer", "answer", "node", "fault", "warning"]
        answer, unanswered, node, fault, warning = got
        assert isinstance(answer, api.AnswerEvent) and isinstance(unanswered, api.AnswerEvent)
        assert (answer.request, answer.class_index, answer.missing) == (1, 3, [2])
        assert answer.votes[1].entries == [(3, 90), (7, -100)]
        assert unanswered.class_index is None
        assert isinstance(node, api.NodeEvent)
        assert (node.node, node.variant, node.state) == (2, "v2", "dead")
        assert isinstance(fault, api.FaultEvent) and fault.fault.address == "0x0000dead"
        assert isinstance(warning, api.WarningEvent) and warning.text == "look at this"
        assert all(event.time.endswith("+00:00") for event in got)

    run(test)


def test_an_event_is_encoded_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    real = events.record_json

    def counted(*arguments: object) -> object:
        encoded.append(arguments)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(events, "record_json", counted)

    async def test(told: Told) -> None:
        told.tell(answered(1))
        subscribers = [told.hub.subscribe(None) for _ in range(5)]
        told.tell(*(answered(number) for number in range(10)))
        for subscriber in subscribers:
            assert len(await taken(subscriber)) == 10
        assert len(encoded) == 10

    run(test)


def test_a_subscribers_pace_is_kept_and_the_last_answer_comes() -> None:
    async def test(told: Told) -> None:
        paced, all_of_it = told.hub.subscribe(4), told.hub.subscribe(None)
        told.tell(*(answered(number) for number in range(20)))
        skipped, *newest = await taken(paced)
        assert isinstance(skipped, api.SkippedEvent) and skipped.count == 16
        assert [event.request for event in newest] == [16, 17, 18, 19]  # type: ignore[union-attr]
        assert len(await taken(all_of_it)) == 20
        told.tell(NodeChanged(1, "dead", "gone"), answered(100), answered(101))
        got: list[api.Event] = []
        while not got or got[-1].event != "answer":
            got += await taken(paced)
        assert [event.event for event in got if event.event != "skipped"] == ["node", "answer"]
        last = got[-1]
        assert isinstance(last, api.AnswerEvent) and last.request == 101

    run(test)


def test_a_flood_is_thinned_out_and_node_changes_are_not() -> None:
    async def test(told: Told) -> None:
        subscriber = told.hub.subscribe(None)
        for number in range(5000):
            told.tell(answered(number & 0xFFFF))
        told.tell(NodeChanged(1, "dead", "gone"))
        skipped, *rest = await taken(subscriber)
        assert isinstance(skipped, api.SkippedEvent)
        assert rest[-1].event == "node"
        assert skipped.count + len(rest) == 5001
        assert len(rest) < 100
        assert told.counters.events_skipped == skipped.count

    run(test)


def test_large_answers_are_encoded_while_others_wait_for_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, may_end = threading.Event(), threading.Event()
    real = events.record_json

    def slow(*arguments: object) -> object:
        begun.set()
        assert may_end.wait(60)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(events, "record_json", slow)
    monkeypatch.setattr(events, "_MOST_S", 0.0)
    monkeypatch.setattr(events, "_REST", 0.0)

    async def test(told: Told) -> None:
        subscriber = told.hub.subscribe(None)
        told.tell(answered(0))
        # The loop is here, and what happens meanwhile waits.
        assert await asyncio.to_thread(begun.wait, 20)
        told.tell(NodeChanged(1, "dead", "gone"), *(answered(number) for number in range(1, 9)))
        may_end.set()
        assert [event.event for event in await taken(subscriber)] == ["answer"]
        # There is time for one answer: the newest.
        skipped, node, newest = await taken(subscriber)
        assert isinstance(skipped, api.SkippedEvent) and skipped.count == 7
        assert isinstance(node, api.NodeEvent)
        assert isinstance(newest, api.AnswerEvent) and newest.request == 8

    try:
        run(test)
    finally:
        may_end.set()


def test_a_subscriber_who_takes_nothing_holds_little() -> None:
    async def test(told: Told) -> None:
        slow, quick = told.hub.subscribe(None), told.hub.subscribe(None)
        for number in range(40):
            told.tell(Warned(f"{number} " + "x" * 20_000))
            assert (await taken(quick))[-1].event == "warning"
        assert slow.waiting_bytes < 300_000
        skipped, *rest = await taken(slow)
        assert isinstance(skipped, api.SkippedEvent)
        assert skipped.count + len(rest) == 40
        last = rest[-1]
        assert isinstance(last, api.WarningEvent) and last.text.startswith("39 ")

    run(test)


def test_events_over_http(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        image = make_image(served.fleet)
        async with AsyncClient(served.fleet) as client:
            stream = client.events()
            first = asyncio.ensure_future(anext(stream))
            await until(lambda: served.server.counters.subscribers == 1)
            answer = await client.classify(image, label=4)
            event = await first
            assert isinstance(event, api.AnswerEvent)
            assert (event.request, event.scores, event.label) == (answer.request, answer.scores, 4)
            await client.quarantine(1, True, "it lies")
            event = await anext(stream)
            assert isinstance(event, api.NodeEvent)
            assert (event.node, event.state, event.reason) == (1, "quarantined", "it lies")
            await stream.aclose()
            await until(lambda: served.server.counters.subscribers == 0)

            seen: list[api.Event] = []

            def watch() -> None:
                with Client(served.fleet) as other:
                    seen.extend(other.events(answers_per_s=5))

            watching = asyncio.create_task(asyncio.to_thread(watch))
            await until(lambda: served.server.counters.subscribers == 1)
            await client.classify(image)
            await until(lambda: bool(seen))
            await served.server.stop()
            with pytest.raises(GatewayError, match="stopped"):
                await watching
            assert [event.event for event in seen] == ["answer"]

    serve(tmp_path, test)


def test_subscribers_have_a_limit(tmp_path: Path) -> None:
    async def test(served: Served) -> None:
        head = b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n"
        opened = []
        for _ in range(MAX_SUBSCRIBERS):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(head)
            await reader.readuntil(b"these are events")
            opened.append(writer)
        async with httpx.AsyncClient(base_url=served.url) as client:
            reply = await client.get("/v1/events")
            assert (reply.status_code, reply.headers["Retry-After"]) == (503, "5")
            assert reply.json() == {"error": f"{MAX_SUBSCRIBERS} clients watch events already"}
            for writer in opened:
                writer.close()
            await until(lambda: served.server.counters.subscribers == 0)
            reply = await client.get("/v1/events?answers_per_s=0")
            assert reply.status_code == 400
            assert reply.json()["error"].startswith("answers_per_s='0': ")

    serve(tmp_path, test)


def test_subscribers_hear_that_the_gateway_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_HEARTBEAT_S", 0.05)

    async def test(served: Served) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"\r\ncontent-type: text/event-stream" in head.lower()
        for _ in range(2):
            await reader.readuntil(b": still here\n\n")
        writer.close()

    serve(tmp_path, test)


def test_a_subscriber_who_stops_reading_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "READ_TIMEOUT_S", 0.5)

    async def test(served: Served) -> None:
        caller = socket.create_connection(("127.0.0.1", served.port))
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        reader, writer = await asyncio.open_connection(sock=caller, limit=1024)
        writer.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"these are events")
        counters = served.server.counters
        while counters.too_slow == 0:
            for _ in range(10):
                served.tell(Warned("x" * 10_000))
            await asyncio.sleep(0.01)
        await until(lambda: counters.subscribers == 0)
        assert counters.events_skipped > 0
        async with AsyncClient(served.fleet) as client:
            assert (await client.classify(make_image(served.fleet))).class_index is not None
        writer.close()

    serve(tmp_path, test)
