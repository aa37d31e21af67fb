"""Text of others (names, reasons, errors) where it must not steer a terminal."""

from __future__ import annotations


def plain(text: str) -> str:
    """One line without control characters."""
    return printable(" ".join(text.split()))


def printable(line: str) -> str:
    """A line with a mark in the place of each control character."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
