"""Variant Parallelism for microcontrollers: tiny complete networks that answer together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from variant_parallelism.client import AsyncClient, Client, GatewayError
    from variant_parallelism.errors import VpError

__version__ = "0.1.0"

__all__ = ["AsyncClient", "Client", "GatewayError", "VpError", "__version__"]

_HOMES = {"AsyncClient": "client", "Client": "client", "GatewayError": "client"} | {
    "VpError": "errors"
}


def __getattr__(name: str) -> Any:
    # Loaded when asked for: most commands need no HTTP client.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
