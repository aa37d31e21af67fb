"""Where a gateway's answers and its nodes' states go: files, a database, a broker, Prometheus.

Every sink has a bounded queue and a thread of its own, so none of them can delay an answer.
"""

from variant_parallelism.gateway.sinks.fan_out import Sinks, make_sinks
from variant_parallelism.gateway.sinks.sink import SinkStatus

__all__ = ["SinkStatus", "Sinks", "make_sinks"]
