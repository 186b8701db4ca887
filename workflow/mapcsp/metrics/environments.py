"""Distances between the atomic environments of two crystals: orbital-field matrices, site fingerprints, powder patterns.

All are means over atoms, so they do not depend on cell choice, origin or order.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import constants

if TYPE_CHECKING:
    from pymatgen.core import Structure

# First place of each subshell among the 32 of an orbital-field vector: s1-s2, p1-p6, d1-d10, f1-f14.
_SUBSHELL = {"s": 0, "p": 2, "d": 8, "f": 18}
_ANG_IN_BOHR = 1e-10 / constants.value("Bohr radius")
# matminer takes the angstrom star (an X-ray unit, 1.5e-5 longer) for the angstrom.
_ANG_IN_BOHR_AS_PUBLISHED = constants.value("Angstrom star") / constants.value("Bohr radius")


class MissingPackageError(ImportError):
    """A metric needs a package that is not installed."""


@cache
def orbital_vector(symbol: str) -> np.ndarray:
    """Valence subshells of an element, one-hot by occupation: (32,).

    Outermost shell n; also (n-1)d, (n-1)f and (n-2)f (Lam Pham et al., Sci. Technol. Adv. Mater. 18, 756,
    2017).
    """
    from pymatgen.core import Element

    shells = Element(symbol).full_electronic_structure
    outermost = max(n for n, _, _ in shells)
    vector = np.zeros(32)
    for n, subshell, electrons in shells:
        inner = outermost - n
        if inner == 0 or (inner == 1 and subshell in "df") or (inner == 2 and subshell == "f"):
            vector[_SUBSHELL[subshell] + electrons - 1] = 1.0
    vector.setflags(write=False)
    return vector


def orbital_field_matrix(structure: Structure, as_published: bool = False) -> np.ndarray:
    """Mean over atoms of sum over Voronoi neighbours of (solid-angle weight / distance in bohr) times outer products.

    Returns (32, 32). as_published: matminer's numbers with older pymatgen releases, whose distances are the
    shortest of a 3x3x3 supercell, in units of the angstrom star. (matminer 0.10 with pymatgen 2026 gives
    others: it takes the last subshell of pymatgen's list for the outermost, and that list's order has
    changed.)
    """
    from pymatgen.analysis.local_env import VoronoiNN

    finder = VoronoiNN(allow_pathological=True)
    # A supercell keeps atoms from being their own neighbours; its first image of each atom stands for all.
    supercell = structure * [3, 3, 3]
    total = np.zeros((32, 32))
    for i in range(0, len(supercell), 27):
        centre = supercell[i]
        own = orbital_vector(centre.specie.symbol)
        for neighbour in finder.get_nn_info(supercell, i):
            site = neighbour["site"]
            if as_published:
                reach = float(centre.distance(site)) * _ANG_IN_BOHR_AS_PUBLISHED
            else:
                reach = float(np.linalg.norm(site.coords - centre.coords)) * _ANG_IN_BOHR
            total += np.outer(orbital_vector(site.specie.symbol), own) * (neighbour["weight"] / reach)
    return total / len(structure)


def ofm_distance(predicted: Structure, true: Structure, as_published: bool = False) -> float:
    """Frobenius norm of the difference of orbital-field matrices."""
    matrices = [orbital_field_matrix(structure, as_published) for structure in (predicted, true)]
    return float(np.linalg.norm(matrices[0] - matrices[1]))


@cache
def _fingerprint_featurizer() -> Any:
    try:
        from matminer.featurizers.site import CrystalNNFingerprint
        from matminer.featurizers.structure import SiteStatsFingerprint
    except ImportError as error:
        raise MissingPackageError(
            "the fingerprint distance needs matminer: pip install 'mapcsp[metrics]'"
        ) from error
    site = CrystalNNFingerprint.from_preset("ops", distance_cutoffs=None, x_diff_weight=0)
    return SiteStatsFingerprint(site, stats=("mean", "std_dev", "minimum", "maximum"))


def fingerprint_distance(predicted: Structure, true: Structure) -> float:
    """Euclidean distance of CrystalNN site fingerprints: mean, spread, least and most over sites of each order parameter.

    Raises MissingPackageError without matminer (Ward et al., Comput. Mater. Sci. 152, 60, 2018), which has
    it.
    """
    featurizer = _fingerprint_featurizer()
    vectors = [np.array(featurizer.featurize(structure), dtype=float) for structure in (predicted, true)]
    return float(np.linalg.norm(vectors[0] - vectors[1]))


def powder_distance(predicted: Structure, true: Structure) -> float:
    """Euclidean distance of two powder patterns (Cu Kα, 0 to 90° 2θ) smoothed on 901 points, each of unit area.

    Smoothing is SciPy's Gaussian kernel with factor .01 over peaks weighted by tenths of a percent of the
    strongest.
    """
    return float(np.linalg.norm(_smooth_powder(predicted) - _smooth_powder(true)))


def _smooth_powder(structure: Structure) -> np.ndarray:
    from pymatgen.analysis.diffraction.xrd import XRDCalculator
    from scipy.stats import gaussian_kde

    pattern = XRDCalculator(wavelength="CuKa").get_pattern(structure, two_theta_range=(0, 90))
    angles = np.repeat(np.asarray(pattern.x), (10 * np.asarray(pattern.y)).astype(int))
    return gaussian_kde(angles, bw_method=0.01)(np.linspace(0, 90, 901))
