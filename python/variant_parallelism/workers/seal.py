"""Messages that only holders of the fleet key can have written.

The tag is keyed BLAKE2s (RFC 7693) over topic and payload. It travels as a user property, so the
payload is plain JSON to whoever only listens.
"""

from __future__ import annotations

import hashlib
import hmac

PROPERTY = "vp-tag"

_TAG_SIZE = 16


class Seal:
    """Makes and checks tags; without a key there are none, and everything is genuine."""

    def __init__(self, fleet_key: bytes | None) -> None:
        self._key = fleet_key and hashlib.blake2s(key=fleet_key, person=b"vp-mqtt").digest()

    def tag(self, topic: str, payload: bytes) -> str | None:
        """32 hexadecimal digits."""
        if self._key is None:
            return None
        made = hashlib.blake2s(key=self._key, digest_size=_TAG_SIZE)
        made.update(topic.encode() + b"\0")
        made.update(payload)
        return made.hexdigest()

    def is_genuine(self, topic: str, payload: bytes, tag: str | None) -> bool:
        expected = self.tag(topic, payload)
        if expected is None:
            return True
        return tag is not None and hmac.compare_digest(expected.encode(), tag.encode())
