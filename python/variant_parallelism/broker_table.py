"""What every table of `fleet.toml` that names an MQTT broker says of it."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from variant_parallelism.toml_table import PathText, Table, is_host_name

_TOPIC_LIMIT = 200
"""MQTT allows 65535 bytes; what we append and every broker's own limit must fit, too."""


def _host(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    if text.replace(".", "").isdecimal() or not is_host_name(text):
        raise ValueError(f"{text!r} is neither a host name nor an address (the port has its key)")
    return text


def check_topic(text: str) -> str:
    """A topic to publish below; else ValueError."""
    wild = any(sign in text for sign in "+#$")
    if not text or wild or not text.isprintable() or len(text.encode()) > _TOPIC_LIMIT:
        raise ValueError(f"{text!r} is no topic to publish below, such as home/fleet")
    if text.startswith("/") or text.endswith("/"):
        raise ValueError(f"{text!r} begins or ends with a slash: leave it out")
    return text


Topic = Annotated[str, AfterValidator(check_topic)]


class BrokerTable(Table):
    """A broker that speaks MQTT 5, and how to get in.

    `port` is 8883 with `tls`, else 1883. `ca_file` replaces the system's certificates;
    `password_file` holds the password of `username`, readable by its owner alone.
    """

    host: Annotated[str, AfterValidator(_host)]
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    tls: bool = False
    ca_file: PathText | None = None
    username: Annotated[str, Field(min_length=1)] | None = None
    password_file: PathText | None = None

    @model_validator(mode="after")
    def _way_in(self) -> BrokerTable:
        if self.ca_file is not None and not self.tls:
            raise ValueError("ca_file without tls = true: the connection would not be encrypted")
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file without username")
        return self

    @property
    def port_used(self) -> int:
        return self.port or (8883 if self.tls else 1883)

    @property
    def place(self) -> str:
        """Host and port, for people."""
        return f"{self.host}:{self.port_used}"
