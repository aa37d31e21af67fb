"""A real Mosquitto that tests may kill, somebody who listens to it, and a way to it that breaks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from free_ports import free_ports

PROGRAM = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")

needs_mosquitto = pytest.mark.skipif(
    PROGRAM is None, reason="no mosquitto here: apt-get install mosquitto"
)


class Broker:
    """Mosquitto at a port of the loopback interface, without persistence."""

    def __init__(self, folder: Path, *options: str) -> None:
        """`options` are lines of its configuration, beside the port."""
        (self.port,) = free_ports(socket.SOCK_STREAM, 1)
        self._config = folder / "mosquitto.conf"
        anonymous = [] if any("password_file" in line for line in options) else ["true"]
        lines = [
            f"listener {self.port} 127.0.0.1",
            "persistence false",
            "log_type none",
            "user root",  # Only heeded when started by root: it reads files of the test's folder.
            *(f"allow_anonymous {word}" for word in anonymous),
            *options,
        ]
        self._config.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it takes connections."""
        assert PROGRAM is not None
        self._process = subprocess.Popen(
            [PROGRAM, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(2000):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            assert self._process.poll() is None, "mosquitto did not start"
            time.sleep(0.01)
        raise AssertionError("mosquitto takes no connections")

    def freeze(self) -> None:
        """Take nothing more in, but keep the connections."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """As a loss of power: it forgets everything."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextlib.asynccontextmanager
async def running(folder: Path, *options: str) -> AsyncIterator[Broker]:
    broker = Broker(folder, *options)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


class Listener:
    """Somebody who hears everything below some topics; retained messages count as heard, too."""

    def __init__(self, broker: Broker, *topics: str, user: tuple[str, str] | None = None) -> None:
        self.heard: list[tuple[str, bytes, bool]] = []
        """(topic, payload, whether it was retained)."""
        self.subscribed = False
        self._topics = topics or ("#",)
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        if user is not None:
            self._client.username_pw_set(*user)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message
        self._client.connect_async("127.0.0.1", broker.port)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def say(self, topic: str, payload: str) -> None:
        self._client.publish(topic, payload, qos=1)

    def of(self, topic: str) -> list[bytes]:
        return [payload for heard, payload, _ in self.heard if heard == topic]

    def requests(self, topic: str) -> list[int]:
        return [json.loads(payload)["request"] for payload in self.of(topic)]

    def latest(self, topic: str) -> Any:
        return json.loads(self.of(topic)[-1])

    def _on_connect(self, client: Client, *_: Any) -> None:
        for topic in self._topics:
            client.subscribe(topic, qos=1)

    def _on_subscribe(self, *_: Any) -> None:
        self.subscribed = True

    def _on_disconnect(self, *_: Any) -> None:
        self.subscribed = False

    def _on_message(self, client: Client, _: Any, message: MQTTMessage) -> None:
        self.heard.append((message.topic, message.payload, message.retain))


class Gate:
    """A way to a broker that can be cut and opened again."""

    def __init__(self, broker: Broker) -> None:
        (self.port,) = free_ports(socket.SOCK_STREAM, 1)
        self.passed = 0
        """Connections that went through."""
        self._broker = broker
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def cut(self) -> None:
        """Every connection breaks, and nothing listens here any more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for end in self._ends:
            end.transport.abort()
        self._ends.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._broker.port)
        except OSError:
            writer.transport.abort()
            return
        self.passed += 1
        self._ends |= {writer, back}
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(self._pass_on(reader, back), self._pass_on(there, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()
        writer.close()
