"""Virtual nodes: many nodes of a fleet in one process, for the real gateway over loopback UDP."""

from variant_parallelism.virtual.answers import AnswerTable, rule, trigger_answer
from variant_parallelism.virtual.faults import NodeFaults
from variant_parallelism.virtual.fleet_files import virtual_address, write_virtual_fleet
from variant_parallelism.virtual.nodes import NodeCounts, VirtualNodes
from variant_parallelism.virtual.process import VirtualProcess

__all__ = [
    "AnswerTable",
    "NodeCounts",
    "NodeFaults",
    "VirtualNodes",
    "VirtualProcess",
    "rule",
    "trigger_answer",
    "virtual_address",
    "write_virtual_fleet",
]
