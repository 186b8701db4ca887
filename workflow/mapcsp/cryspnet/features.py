"""The 228 predictors of a composition (CRYSPNet, section II.B and Table 1), and the five that MLatticeABC adds.

Sums over elements weighted by atomic fraction, computed here from one table; matminer's featurizers give the same numbers
(a test compares), but need an older pandas.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from mapcsp.elements import SYMBOLS, atomic_number
from mapcsp.errors import StoreError
from mapcsp.resources import resource_path
from mapcsp.store import read_csv

TABLE = "tables/magpie_elements.csv"

MAGPIE_PROPERTIES: tuple[str, ...] = (
    "Number",
    "MendeleevNumber",
    "AtomicWeight",
    "MeltingT",
    "Column",
    "Row",
    "CovalentRadius",
    "Electronegativity",
    "NsValence",
    "NpValence",
    "NdValence",
    "NfValence",
    "NValence",
    "NsUnfilled",
    "NpUnfilled",
    "NdUnfilled",
    "NfUnfilled",
    "NUnfilled",
    "GSvolume_pa",
    "GSbandgap",
    "GSmagmom",
    "SpaceGroupNumber",
)
"""The 22 elemental properties of the Magpie set (Ward et al., npj Comput. Mater. 2, 16028, 2016), by their names there."""

TABLE_COLUMNS: tuple[str, ...] = (
    "symbol",
    *MAGPIE_PROPERTIES,
    "electron_affinity_kj_per_mol",
    "first_ionization_kj_per_mol",
    "electronegativity_pauling",
    "oxidation_states",
)
STATISTICS: tuple[str, ...] = ("minimum", "maximum", "range", "mean", "avg_dev")
"""Statistics of each property; the mode, the sixth of the Magpie set, is left out as in the paper."""

NORMS: tuple[int, ...] = (0, 2, 3, 5, 7, 10)
ORBITALS: tuple[str, ...] = ("s", "p", "d", "f")
# Element fractions run from H to Lr, as matminer's did when the paper was written: 103 columns.
N_FRACTIONS = 103
KJ_PER_MOL_IN_EV = 96.48

FEATURE_NAMES: tuple[str, ...] = (
    *(f"{statistic} {name}" for name in MAGPIE_PROPERTIES for statistic in STATISTICS),
    *(f"{p}-norm" for p in NORMS),
    *(f"frac {orbital} valence electrons" for orbital in ORBITALS),
    "compound possible",
    "max ionic char",
    "avg ionic char",
    "band center",
    *(f"fraction of element {z}" for z in range(1, N_FRACTIONS + 1)),
    "number of elements",
)
"""Names of the 228 predictors, in the order of `composition_features`."""

CELL_FEATURE_NAMES: tuple[str, ...] = (
    "atoms in cell",
    "max count",
    "min count",
    "mean count",
    "variance of counts",
)
"""What MLatticeABC (Li et al., ACS Omega 6, 11585, 2021) adds; these need the content of a cell, so z."""


@dataclass(frozen=True, eq=False)
class MagpieTable:
    """The table in memory, rows by atomic number from H.

    properties: (94, 22). electron_affinity_kj_per_mol, first_ionization_kj_per_mol, electronegativity_pauling: (94,).
    oxidation_states: common ones of each element.
    """

    properties: np.ndarray
    electron_affinity_kj_per_mol: np.ndarray
    first_ionization_kj_per_mol: np.ndarray
    electronegativity_pauling: np.ndarray
    oxidation_states: tuple[tuple[int, ...], ...]


@cache
def magpie_table() -> MagpieTable:
    """Read the table once a process; raises StoreError, naming the file, if it is damaged."""
    path = resource_path(TABLE)
    rows = read_csv(path)
    try:
        if [row["symbol"] for row in rows] != list(SYMBOLS):
            raise ValueError("expected a row for each of H to Pu")
        columns = {
            name: np.array([float(row[name]) for row in rows])
            for name in TABLE_COLUMNS
            if name not in ("symbol", "oxidation_states")
        }
        if not all(np.isfinite(values).all() for values in columns.values()):
            raise ValueError("a value is not finite")
        states = tuple(tuple(int(s) for s in row["oxidation_states"].split()) for row in rows)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} is damaged ({error}); restore it with `git checkout resources`") from None
    return MagpieTable(
        np.stack([columns[name] for name in MAGPIE_PROPERTIES], axis=1),
        columns["electron_affinity_kj_per_mol"],
        columns["first_ionization_kj_per_mol"],
        columns["electronegativity_pauling"],
        states,
    )


def composition_features(amounts: Mapping[str, float]) -> np.ndarray:
    """The 228 predictors of one composition: only ratios of amounts matter, but for `compound possible`.

    amounts: atoms of each element, positive. Returns (228,), float64, units of the table.
    Raises UnsupportedElementError beyond H to Pu and ValueError for an empty or non-positive composition.
    """
    if not amounts or min(amounts.values()) <= 0:
        raise ValueError(f"a composition needs positive amounts, got {dict(amounts)}")
    table = magpie_table()
    rows = np.array([atomic_number(symbol) - 1 for symbol in amounts])
    counts = np.array(list(amounts.values()), dtype=float)
    fractions = counts / counts.sum()
    properties = table.properties[rows]
    by_element = np.zeros(N_FRACTIONS)
    by_element[rows] = fractions
    norms = [len(rows) if p == 0 else (fractions**p).sum() ** (1 / p) for p in NORMS]
    return np.concatenate(
        [
            _statistics(properties, fractions).ravel(),
            norms,
            _valence_shares(properties, fractions),
            [_is_neutral_possible([table.oxidation_states[r] for r in rows], counts)],
            _ionic_character(table.electronegativity_pauling[rows], fractions),
            [_band_centre_ev(table, rows, fractions)],
            by_element,
            [len(rows)],
        ]
    )


def cell_features(amounts: Mapping[str, int], z: int) -> np.ndarray:
    """The five predictors of a cell's content that MLatticeABC adds: (5,), counts of atoms.

    amounts: atoms of each element in one formula unit; z: formula units in the primitive cell.
    MLatticeABC counts the atoms of the conventional cell as its data gave it; the primitive cell is the same count for
    a given Bravais lattice, but for the factor of its centring.
    """
    counts = np.array(list(amounts.values()), dtype=float) * z
    return np.array([counts.sum(), counts.max(), counts.min(), counts.mean(), counts.var()])


def feature_matrix(compositions: Sequence[Mapping[str, float]]) -> np.ndarray:
    """Predictors of many compositions: (n, 228), float32; errors as `composition_features`."""
    return np.array([composition_features(c) for c in compositions], dtype=np.float32).reshape(
        -1, len(FEATURE_NAMES)
    )


def _statistics(properties: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """(n, 22) properties and (n,) fractions to (22, 5), in the order of STATISTICS."""
    lowest, highest = properties.min(0), properties.max(0)
    mean = fractions @ properties
    return np.stack([lowest, highest, highest - lowest, mean, fractions @ np.abs(properties - mean)], axis=1)


def _valence_shares(properties: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """Share of the valence electrons in s, p, d and f orbitals: (4,)."""
    mean = fractions @ properties
    electrons = [mean[MAGPIE_PROPERTIES.index(f"N{orbital}Valence")] for orbital in ORBITALS]
    return np.array(electrons) / mean[MAGPIE_PROPERTIES.index("NValence")]


def _is_neutral_possible(states: Sequence[Sequence[int]], counts: np.ndarray) -> float:
    """Whether one common oxidation state an element can add up to zero; always for a single element."""
    if len(states) < 2:
        return 1.0
    return float(any(abs(np.dot(choice, counts)) < 1e-8 for choice in itertools.product(*states)))


def _ionic_character(electronegativity: np.ndarray, fractions: np.ndarray) -> tuple[float, float]:
    """Largest and mean ionic character of pairs, 1 - exp(-(difference of electronegativity)² / 4) (Pauling)."""
    character = 1 - np.exp(-0.25 * (electronegativity[:, None] - electronegativity) ** 2)
    # Each pair once, as in matminer: half of what the full double sum gives.
    return float(character.max()), float(fractions @ character @ fractions / 2)


def _band_centre_ev(table: MagpieTable, rows: np.ndarray, fractions: np.ndarray) -> float:
    """Geometric mean of Mulliken electronegativities, eV (Butler and Ginley, J. Electrochem. Soc. 125, 228, 1978)."""
    mulliken = table.first_ionization_kj_per_mol[rows] + table.electron_affinity_kj_per_mol[rows]
    return float(np.exp(fractions @ np.log(0.5 * mulliken / KJ_PER_MOL_IN_EV)))
