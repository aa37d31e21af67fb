"""`vp top`: a fleet in a terminal."""

from __future__ import annotations

from pathlib import Path

import typer

from variant_parallelism.errors import VpError


def command(
    fleet: Path = typer.Argument(None, help="The fleet file of the gateway.", show_default=False),
    url: str = typer.Option(
        None, help="The gateway's address, instead of a fleet file.", show_default=False
    ),
    token_file: Path = typer.Option(
        None,
        help="File with the gateway's token.",
        show_default="[gateway] token_file of the fleet file",
    ),
) -> None:
    """Watch a running gateway: its nodes, their votes, its answers. Without a terminal, print once.

    Keys: q quits; n, s, l, a sort by node, state, latency, agreement.
    """
    from rich.console import Console

    from variant_parallelism.client import AsyncClient
    from variant_parallelism.secret_file import read_secret
    from variant_parallelism.top import watch

    if (fleet is None) == (url is None):
        raise VpError("give a fleet file, or --url and the gateway's address")
    if url is not None and not url.startswith(("http://", "https://")):
        raise VpError(f"--url {url}: an address begins with http:// or https://")
    token = None if token_file is None else read_secret(token_file, "token file")
    watch(AsyncClient(url or fleet, token=token), Console())
