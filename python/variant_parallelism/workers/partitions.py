"""Which worker sees a request's votes.

A request's id chooses one of `PARTITIONS` topics, and the names of the workers that are there
choose one worker for each of them (rendezvous hashing: who comes or goes moves his own share only).
Sets of partitions are bits of an integer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from functools import lru_cache

PARTITIONS = 256
ALL = (1 << PARTITIONS) - 1


def partition_of(uid: str) -> int:
    """The partition of a request."""
    return hashlib.blake2s(uid.encode(), digest_size=1).digest()[0]


def owners(workers: Collection[str]) -> dict[str, int]:
    """The partitions of each worker; all of them together, none twice."""
    shares = dict.fromkeys(workers, 0)
    if shares:
        for partition in range(PARTITIONS):
            best = max(shares, key=lambda name: (_weights(name)[partition], name))
            shares[best] |= 1 << partition
    return shares


def members(partitions: int) -> Iterator[int]:
    """The numbers of the partitions in a set."""
    return (number for number in range(PARTITIONS) if partitions >> number & 1)


@lru_cache(maxsize=1024)
def _weights(worker: str) -> tuple[bytes, ...]:
    return tuple(
        hashlib.blake2s(f"{worker}/{number}".encode(), digest_size=8).digest()
        for number in range(PARTITIONS)
    )
