"""A real Mosquitto that is killed and started again, and somebody who listens to it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion

from variant_parallelism.errors import VpError


class Broker:
    """Mosquitto at a port of the loopback interface; a context manager."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self.kills = 0
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
        if program is None:
            raise VpError("no mosquitto here: apt-get install mosquitto")
        config = folder / "mosquitto.conf"
        config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
            "log_type none\nmax_queued_messages 0\nuser root\n",
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

    def kill(self) -> None:
        """kill -9: it forgets every session."""
        self.kills += 1
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class Subscriber:
    """Counts the different answers that the broker passes on; a context manager."""

    def __init__(self, port: int, topic: str) -> None:
        self.answers: set[tuple[str, int]] = set()
        self._topic = topic
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTv5)
        self._client.on_connect = self._on_connect
        self._client.on_message = self._on_message
        self._client.reconnect_delay_set(1, 1)
        self._client.connect_async("127.0.0.1", port)

    def __enter__(self) -> Subscriber:
        self._client.loop_start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, client: Client, *_: Any) -> None:
        client.subscribe(self._topic, qos=1)

    def _on_message(self, client: Client, _: Any, message: MQTTMessage) -> None:
        answer = json.loads(message.payload)
        self.answers.add((answer["time"], answer["request"]))
