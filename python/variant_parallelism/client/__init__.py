"""Asking a gateway over HTTP: `Client`, and `AsyncClient` for asyncio."""

from variant_parallelism.client.asynchronous import AsyncClient
from variant_parallelism.client.exchange import GatewayError
from variant_parallelism.client.finding import find_gateway
from variant_parallelism.client.synchronous import Client

__all__ = ["AsyncClient", "Client", "GatewayError", "find_gateway"]
