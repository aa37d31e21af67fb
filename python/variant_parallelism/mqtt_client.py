"""Clients of an MQTT 5 broker, as `[sinks.mqtt]` and `[workers]` describe it.

paho-mqtt comes with the extra `mqtt`: nothing here imports it before a client is made.
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from variant_parallelism.broker_table import BrokerTable
from variant_parallelism.errors import VpError
from variant_parallelism.secret_file import read_secret

if TYPE_CHECKING:
    from paho.mqtt.client import Client
    from paho.mqtt.properties import Properties

_log_of_paho = logging.getLogger("variant_parallelism.gateway.paho")
# Its users say what it says of connections; mistakes in callbacks only it sees.
_log_of_paho.addFilter(lambda record: "exception" in record.getMessage())


def make_client(
    table: BrokerTable, folder: Path, client_id: str, section: str, *, longest_retry_s: int
) -> Client:
    """A client that is not connected yet, and will reconnect for ever once it was.

    `folder` is where the table's paths start, `section` its name in the fleet file. VpError if
    paho-mqtt is not installed, or a file is no good.
    """
    try:
        from paho.mqtt.client import Client, MQTTv5
        from paho.mqtt.enums import CallbackAPIVersion
    except ImportError:
        raise VpError(
            f"{section} needs paho-mqtt: run pip install 'variant-parallelism[mqtt]'"
        ) from None
    client = Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTv5)
    if table.username is not None:
        client.username_pw_set(table.username, _password(table, folder))
    if table.tls:
        client.tls_set_context(_tls(table, folder, section))
    # A mistake in a callback would end paho's thread.
    client.suppress_exceptions = True
    client.enable_logger(_log_of_paho)
    client.reconnect_delay_set(1, longest_retry_s)
    client.on_socket_open = _send_at_once
    return client


def properties(packet: str, **values: Any) -> Properties:
    """The properties of a packet (PUBLISH, CONNECT, WILLMESSAGE), by their names in paho."""
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    made = Properties(getattr(PacketTypes, packet))  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(made, name, value)
    return made


def why_not_connected() -> str:
    """Why paho could not connect; in its `on_connect_fail` only."""
    # paho calls that where it caught the error, and does not pass it on.
    error = sys.exc_info()[1]
    return getattr(error, "strerror", None) or str(error)


def _password(table: BrokerTable, folder: Path) -> str | None:
    if table.password_file is None:
        return None
    path = folder / table.password_file
    password = read_secret(path, "password file")
    if not password:
        raise VpError(f"password file {path} holds no password in ASCII")
    return password


def _tls(table: BrokerTable, folder: Path, section: str) -> ssl.SSLContext:
    path = None if table.ca_file is None else folder / table.ca_file
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise VpError(f"cannot use {path}: {why}; see {section} ca_file") from None


def _send_at_once(client: Client, _: Any, opened: Any) -> None:
    """A small message must not wait for the acknowledgement of the one before, 40 ms late."""
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
