"""A real Mosquitto that is killed and started again, and somebody who listens to it."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from variant_parallelism.errors import VpError

_WAIT_S = 20.0


class Broker:
    """Mosquitto at a port of the loopback interface; a context manager.

    It keeps sessions on disk when `keep_sessions` says so: what a killed one is told after its
    return, before a subscriber is back, still reaches that subscriber.
    """

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.kills: list[float] = []
        """Seconds since 1970."""
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if program is None:
            raise VpError("no mosquitto here: apt-get install mosquitto")
        self._kept = folder.resolve() / "mosquitto.db"
        self._kept.unlink(missing_ok=True)
        config = folder / "mosquitto.conf"
        config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {self._kept.parent}/\nautosave_interval 0\n"
            "log_type none\nmax_queued_messages 0\nmax_inflight_messages 0\nuser root\n",
            encoding="utf-8",
        )
        self._command = [program, "-c", str(config)]
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def start(self) -> None:
        """It takes connections a moment later."""
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def keep_sessions(self) -> None:
        """Write those of now to the disk; VpError if that does not happen."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)
        end = time.monotonic() + _WAIT_S
        while not self._kept.exists():
            if time.monotonic() > end:
                raise VpError(f"mosquitto does not write {self._kept}")
            time.sleep(0.05)

    def kill(self) -> None:
        """kill -9: of every session it remembers that it was there, and nothing else."""
        self.kills.append(time.time())
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Subscriber:
    """Notes the different answers that the broker passes on; a context manager."""

    def __init__(self, port: int, topic: str) -> None:
        self.answers: set[tuple[str, int]] = set()
        """Time, as in the message, and request."""
        self._topic = topic
        self._subscribed = threading.Event()
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id="soak-subscriber", protocol=MQTTv5
        )
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = 86400
        self._client.connect_async("127.0.0.1", port, clean_start=False, properties=session)

    def __enter__(self) -> Subscriber:
        self._client.loop_start()
        if not self._subscribed.wait(_WAIT_S):
            self.__exit__()
            raise VpError("mosquitto takes no subscription")
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: Client, *_: Any) -> None:
        client.subscribe(self._topic, qos=1)

    def _on_subscribe(self, *_: Any) -> None:
        self._subscribed.set()

    def _on_message(self, client: Client, _: Any, message: MQTTMessage) -> None:
        answer = json.loads(message.payload)
        self.answers.add((answer["time"], answer["request"]))
