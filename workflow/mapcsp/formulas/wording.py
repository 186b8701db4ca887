"""How the intake speaks of a row: its error, and texts quoted for a message."""

from __future__ import annotations


class RowError(ValueError):
    """Why one row of the list cannot be used: a sentence for its author."""


def shown(text: str, limit: int = 60) -> str:
    """Quote a text for a message: cut at `limit` characters, everything unprintable escaped."""
    return f"'{printable(text, limit)}'"


def printable(text: str, limit: int) -> str:
    """Cut a text at `limit` characters, saying how long it was; escape what has no glyph (controls, broken bytes)."""
    escaped = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:limit])
    return escaped if len(text) <= limit else f"{escaped}… ({len(text)} characters)"


def not_a_formula(formula: str, why: str) -> RowError:
    """The error of a text that cannot be read as a formula."""
    return RowError(f"{shown(formula)} is not a formula ({why}); fix the row or delete it")
