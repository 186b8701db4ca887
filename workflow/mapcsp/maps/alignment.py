"""Puts the atoms of one map into the order of another: atoms of one element are interchangeable."""

from __future__ import annotations

import numpy as np
from numba import njit

# Weight of the difference of sorted rows while atoms are still placed one by one; the final choice ignores it.
_SIGNATURE_WEIGHT = 0.3


def align_atoms(reference_ang: np.ndarray, distance_ang: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Find the order of atoms in which a distance map comes closest to a reference.

    reference_ang, distance_ang: (n, n), Å. groups: (n,), integers; only atoms of one group (element) are exchanged, and
    both maps hold the same groups in the same rows.
    Returns order (n,): distance_ang[order][:, order] is aligned with the reference. Deterministic. Sum of squares is
    minimised by trying every choice of the first two atoms, placing the others greedily, and exchanging pairs until
    nothing improves: exact on cells of up to six atoms of an element as a rule, and never worse than the given order.
    """
    n = len(groups)
    sizes = np.array([(groups == g).sum() for g in groups])
    # Small groups first: they have the fewest choices and anchor the rest.
    places = np.lexsort((np.arange(n), groups, sizes)).astype(np.int64)
    return _align(
        np.ascontiguousarray(reference_ang, dtype=np.float64),
        np.ascontiguousarray(distance_ang, dtype=np.float64),
        np.ascontiguousarray(groups, dtype=np.int64),
        places,
    )


@njit(cache=True)
def _cost(a, b, order):
    total = 0.0
    for i in range(len(order)):
        for j in range(i):
            total += (a[i, j] - b[order[i], order[j]]) ** 2
    return total


@njit(cache=True)
def _descend(a, b, groups, order):
    """Exchange pairs of one group while that lowers the cost."""
    n = len(order)
    improved = True
    while improved:
        improved = False
        for i in range(n):
            for j in range(i):
                if groups[i] != groups[j]:
                    continue
                p, q = order[i], order[j]
                change = 0.0
                for k in range(n):
                    if k in (i, j):
                        continue
                    r = order[k]
                    change += (a[i, k] - b[q, r]) ** 2 + (a[j, k] - b[p, r]) ** 2
                    change -= (a[i, k] - b[p, r]) ** 2 + (a[j, k] - b[q, r]) ** 2
                if change < -1e-9:
                    order[i], order[j] = q, p
                    improved = True


@njit(cache=True)
def _align(a, b, groups, places):
    n = len(groups)
    rows_a, rows_b = np.empty_like(a), np.empty_like(b)
    for i in range(n):
        rows_a[i], rows_b[i] = np.sort(a[i]), np.sort(b[i])
    signature = np.zeros((n, n))
    for i in range(n):
        for k in range(n):
            signature[i, k] = _SIGNATURE_WEIGHT * np.sum((rows_a[i] - rows_b[k]) ** 2)
    best = np.arange(n)
    _descend(a, b, groups, best)
    best_cost = _cost(a, b, best)
    order = np.empty(n, np.int64)
    used = np.empty(n, np.bool_)
    for first in range(n):
        if groups[first] != groups[places[0]]:
            continue
        for second in range(n):
            if best_cost < 1e-6:
                return best
            if n > 1 and (groups[second] != groups[places[1]] or second == first):
                continue
            used[:] = False
            for step in range(n):
                i = places[step]
                if step == 0:
                    chosen = first
                elif step == 1:
                    chosen = second
                else:
                    chosen, lowest = -1, np.inf
                    for k in range(n):
                        if used[k] or groups[k] != groups[i]:
                            continue
                        cost = signature[i, k]
                        for earlier in range(step):
                            j = places[earlier]
                            cost += (a[i, j] - b[k, order[j]]) ** 2
                        if cost < lowest:
                            chosen, lowest = k, cost
                order[i] = chosen
                used[chosen] = True
            _descend(a, b, groups, order)
            cost = _cost(a, b, order)
            if cost < best_cost - 1e-9:
                best, best_cost = order.copy(), cost
            if n == 1:
                break
    return best
