"""The one exception that users see."""

from __future__ import annotations


class VpError(Exception):
    """A user's mistake or a condition that the user can change.

    The text is one line that names the thing and the way out; every command prints it as
    ``error: <text>`` and exits with status 1.
    """
