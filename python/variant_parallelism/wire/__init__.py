"""The wire protocol in Python: typed messages over the C codec that the nodes run.

docs/protocol.md describes every byte; firmware/include/vp/wire.h is the codec that this package
binds, so host and node cannot disagree.
"""

from variant_parallelism.wire.codec import (
    ALL_NODES,
    CHUNK_SIZE,
    MAX_FRAME,
    MAX_K,
    MAX_MESSAGE,
    MAX_RANGES,
    SEQUENCE_BITS,
    Header,
    MessageType,
    WireError,
    payload,
    peek,
    seal,
    verify,
)
from variant_parallelism.wire.messages import (
    Body,
    Discover,
    ErrorCode,
    Fault,
    Hello,
    Input,
    NodeError,
    Prediction,
    ResetCause,
    Sack,
    Trigger,
    decode,
    encode,
    unpack,
)
from variant_parallelism.wire.provisioning import Provision
from variant_parallelism.wire.stream import Deframer, Frame, ReplayWindow, frame

__all__ = [
    "ALL_NODES",
    "CHUNK_SIZE",
    "MAX_FRAME",
    "MAX_K",
    "MAX_MESSAGE",
    "MAX_RANGES",
    "SEQUENCE_BITS",
    "Body",
    "Deframer",
    "Discover",
    "ErrorCode",
    "Fault",
    "Frame",
    "Header",
    "Hello",
    "Input",
    "MessageType",
    "NodeError",
    "Prediction",
    "Provision",
    "ReplayWindow",
    "ResetCause",
    "Sack",
    "Trigger",
    "WireError",
    "decode",
    "encode",
    "frame",
    "payload",
    "peek",
    "seal",
    "unpack",
    "verify",
]
