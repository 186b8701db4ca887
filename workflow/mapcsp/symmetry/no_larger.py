"""Limits on numbers, counted among cells of the same size or smaller.

A plain limit lets a larger cell push out a smaller one: raising the most atoms of a cell would lose answers. So each
thing is kept that has fewer than the limit's number of better ones in cells no larger than its own; then raising this
limit, or the limit on cells, only adds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def best_of_no_larger(sizes: Sequence[int], most: int) -> list[int]:
    """Positions that are kept, in order; sizes: of the cells, the best thing first."""
    seen: Counter[int] = Counter()
    kept = []
    for position, size in enumerate(sizes):
        if sum(count for other, count in seen.items() if other <= size) < most:
            kept.append(position)
        seen[size] += 1
    return kept
