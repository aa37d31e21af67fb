"""What the gateway can do on this machine, measured with virtual nodes."""

from variant_parallelism.gateway_bench.jobs import Job, Kind, Measured
from variant_parallelism.gateway_bench.run import Options, run_benchmark

__all__ = ["Job", "Kind", "Measured", "Options", "run_benchmark"]
