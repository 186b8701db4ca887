"""Which training formulas are kept back: to choose epochs, and to fit the ranking on predictions out of fold."""

from __future__ import annotations

import zlib

HELD_SHARE = 20
"""One formula in this many is kept back."""


def is_held_out(formula: str) -> bool:
    """Whether a reduced formula is kept from every network's training; stable, and the same for all its polymorphs."""
    return zlib.crc32(formula.encode()) % HELD_SHARE == 0
