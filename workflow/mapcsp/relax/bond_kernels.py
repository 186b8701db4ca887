"""What lies between the matrix products of M3GNet's gated perceptrons, one compiled pass each.

Matrices are (e, w), float32, C-contiguous, one row a bond; written so that the compiler vectorises the inner loops
(float32 constants, no division checks, rows as views).
"""

from __future__ import annotations

import numpy as np
from numba import njit

_compile = njit(cache=True, error_model="numpy", fastmath={"contract", "nsz"})

# tanh(t) = t p(t²) / q(t²) on |t| <= 9, fitted here by reweighted rational least squares (largest error 2e-08); the sigmoid
# taken from it is good to 2e-7 in float32, and beyond the range it is 0 or 1.
_P0, _P1, _P2, _P3, _P4 = np.array(
    [9.999999064e-01, 1.337320056e-01, 3.486585142e-03, 2.047187825e-05, 1.318427941e-08], np.float32
)
_Q0, _Q1, _Q2, _Q3, _Q4 = np.array(
    [1.000000000e00, 4.670649743e-01, 2.584199193e-02, 3.271390450e-04, 7.702688446e-07], np.float32
)
_ONE, _HALF, _LARGEST = np.float32(1), np.float32(0.5), np.float32(9)


@_compile
def _sigmoid(x):
    """1 / (1 + exp(-x)); NaN stays NaN."""
    t = _HALF * x
    t = min(max(t, -_LARGEST), _LARGEST) + (x - x)
    u = t * t
    p = t * (_P0 + u * (_P1 + u * (_P2 + u * (_P3 + u * _P4))))
    return _HALF + _HALF * p / (_Q0 + u * (_Q1 + u * (_Q2 + u * (_Q3 + u * _Q4))))


@_compile
def activate(hidden, at_centre, at_neighbour, centres, neighbours, slope):
    """Add the atoms' shares (n, w) to each bond's row and take silu, in place; slope: its derivative, written."""
    for k in range(hidden.shape[0]):
        row, out = hidden[k], slope[k]
        first, second = at_centre[centres[k]], at_neighbour[neighbours[k]]
        for c in range(row.shape[0]):
            x = row[c] + first[c] + second[c]
            s = _sigmoid(x)
            row[c] = x * s
            out[c] = s * (_ONE + x * (_ONE - s))


@_compile
def activate_gradient(gradient, slope, centres, neighbours, by_centre, by_neighbour):
    """Chain rule of `activate`, in place; its sums over each atom's bonds are added to by_centre, by_neighbour (n, w)."""
    for k in range(gradient.shape[0]):
        row, factor = gradient[k], slope[k]
        first, second = by_centre[centres[k]], by_neighbour[neighbours[k]]
        for c in range(row.shape[0]):
            g = row[c] * factor[c]
            row[c] = g
            first[c] += g
        for c in range(row.shape[0]):
            second[c] += row[c]


@_compile
def gate(both, bias, scale, value, scaled):
    """value = silu(p) sigmoid(q) and value * scale, for both + bias = [p | q] of width 2 w.

    both: becomes the derivatives of value by p and q.
    """
    w = scale.shape[1]
    for k in range(both.shape[0]):
        left, right = both[k, :w], both[k, w:]
        times, v, out = scale[k], value[k], scaled[k]
        for c in range(w):
            p, q = left[c] + bias[c], right[c] + bias[w + c]
            sp, sq = _sigmoid(p), _sigmoid(q)
            product = p * sp * sq
            v[c] = product
            out[c] = product * times[c]
            left[c] = sq * sp * (_ONE + p * (_ONE - sp))
            right[c] = product * (_ONE - sq)


@_compile
def gate_gradient(gradient, value, scale, slopes, to_scale, to_both):
    """Chain rule of `gate`: the gradient by scale (e, w) and by both (e, 2 w), written."""
    w = scale.shape[1]
    for k in range(gradient.shape[0]):
        g, v, times, by_scale = gradient[k], value[k], scale[k], to_scale[k]
        d_left, d_right, left, right = slopes[k, :w], slopes[k, w:], to_both[k, :w], to_both[k, w:]
        for c in range(w):
            by_scale[c] = g[c] * v[c]
            through = g[c] * times[c]
            left[c] = through * d_left[c]
            right[c] = through * d_right[c]
