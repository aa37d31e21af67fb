"""`vp top`: a fleet in a terminal, over the gateway's HTTP API."""

from variant_parallelism.top.run import watch

__all__ = ["watch"]
