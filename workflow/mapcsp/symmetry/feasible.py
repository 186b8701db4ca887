"""Says whether a space group can hold a composition: whether Wyckoff positions add up to the content of the cell."""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from itertools import product

from mapcsp.symmetry.wyckoff import space_group

# The largest number of formula units that is looked at: the general position of the largest space group, and its multiples.
LARGEST_Z = 64


@lru_cache(maxsize=4096)
def least_z(number: int, amounts: tuple[int, ...]) -> int | None:
    """The least number of formula units that a space group can hold in its primitive cell; None up to LARGEST_Z.

    amounts: of each element in one formula unit. Raises UserError for a number outside 1-230.
    """
    return next((z for z in range(1, LARGEST_Z + 1) if can_hold(number, tuple(z * n for n in amounts))), None)


@lru_cache(maxsize=65536)
def can_hold(number: int, counts: tuple[int, ...]) -> bool:
    """Whether some assignment of Wyckoff positions of a space group has the atoms of one primitive cell.

    number: space group. counts: atoms of each element in the primitive cell; their order does not matter.
    A position without free coordinates holds at most one orbit, any other as many as wanted.
    Raises UserError for a number outside 1-230.
    """
    fixed: Counter[int] = Counter()
    free: set[int] = set()
    for position in space_group(number).positions:
        if position.n_free == 0:
            fixed[position.multiplicity] += 1
        else:
            free.add(position.multiplicity)
    reachable = _sums(free, max(counts))
    sizes = tuple(sorted(size for size in fixed if size <= max(counts)))
    # Dynamic programming over elements; a state is how many fixed positions of each multiplicity are left.
    states = {tuple(min(fixed[size], sum(counts)) for size in sizes)}
    for count in sorted(counts, reverse=True):
        states = {left for state in states for left in _placements(count, sizes, state, reachable)}
        if not states:
            return False
    return True


def _sums(sizes: set[int], limit: int) -> frozenset[int]:
    """Numbers up to `limit` that are sums of `sizes`, each used any number of times; 0 among them."""
    found = {0}
    for total in range(1, limit + 1):
        if any(total - size in found for size in sizes):
            found.add(total)
    return frozenset(found)


def _placements(
    count: int, sizes: tuple[int, ...], state: tuple[int, ...], reachable: frozenset[int]
) -> set[tuple[int, ...]]:
    """States left after one element's atoms take some fixed positions, the rest fitting into free ones."""
    choices = (range(min(left, count // size) + 1) for size, left in zip(sizes, state))
    return {
        tuple(left - taken for left, taken in zip(state, used))
        for used in product(*choices)
        if count - sum(size * taken for size, taken in zip(sizes, used)) in reachable
    }
