"""One fleet behind several gateways: they publish their nodes' votes, workers combine them.

`make_spread` is a gateway's part, `Worker` combines, `BrokerClient` asks.
"""

from variant_parallelism.workers.asking import BrokerClient
from variant_parallelism.workers.spread import Spread, make_spread
from variant_parallelism.workers.worker import Worker

__all__ = ["BrokerClient", "Spread", "Worker", "make_spread"]
