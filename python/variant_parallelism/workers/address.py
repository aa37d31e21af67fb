"""`--mqtt URL`: another broker than the fleet file's, or one where it names none."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import ValidationError

from variant_parallelism.errors import VpError
from variant_parallelism.fleet import Fleet
from variant_parallelism.workers_table import WorkersTable


def table_for(fleet: Fleet, url: str | None) -> WorkersTable:
    """`[workers]` of a fleet, at the broker of a URL if one is given.

    mqtt://host, mqtt://user@host:port, or mqtts://... with TLS. VpError if it is no such URL, or
    there is neither.
    """
    table = fleet.table.workers
    if url is None:
        if table is None:
            raise VpError(f"{fleet.path} has no [workers]: add the table, or say --mqtt URL")
        return table
    given = {} if table is None else table.model_dump(exclude_unset=True)
    given |= _parts(url)
    if not given["tls"]:
        given.pop("ca_file", None)
    try:
        return WorkersTable.model_validate(given)
    except ValidationError as error:
        why = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise VpError(f"--mqtt {url}: {why}") from None


def _parts(url: str) -> dict[str, object]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise VpError(f"--mqtt {url!r} is no URL: {error}") from None
    extra = parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme not in ("mqtt", "mqtts") or not host or extra:
        raise VpError(f"--mqtt {url!r} is no URL such as mqtt://broker.local:1883")
    if parts.password is not None:
        raise VpError("--mqtt takes no password: put it into a file and name that in [workers]")
    found: dict[str, object] = {"host": host, "port": port, "tls": parts.scheme == "mqtts"}
    if parts.username is not None:
        found["username"] = parts.username
    return found
