"""The gateway's HTTP side: the API, its limits, and the page that shows the fleet."""

from variant_parallelism.gateway.web.server import HttpServer

__all__ = ["HttpServer"]
