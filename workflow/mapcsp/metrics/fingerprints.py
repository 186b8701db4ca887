"""Fingerprints of coordination: how octahedral, tetrahedral, … the neighbours of each atom stand.

Zimmermann and Jain, RSC Adv. 10, 6063 (2020): CrystalNN finds neighbours with a probability of each coordination number;
order parameters say how close the neighbours come to known motifs. Written with pymatgen alone: the package that the
papers' programs take it from needs pandas below 3.
"""

from __future__ import annotations

import warnings
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pymatgen.core import Structure

LARGEST_COORDINATION = 24
# Beside the motifs for which pymatgen has parameters: a single bond, and bond-orientational order of many neighbours.
_OTHER_MOTIFS: dict[int, list[str]] = {
    1: ["sgl_bd"],
    **{number: ["q2", "q4", "q6"] for number in (9, 10, 11, 12)},
}


@cache
def _order_parameters() -> dict[int, list[Any]]:
    """Order parameters by coordination number."""
    from pymatgen.analysis.local_env import LocalStructOrderParams, cn_opt_params

    parameters: dict[int, dict[str, list[Any]]] = dict(cn_opt_params)  # type: ignore[arg-type]
    found: dict[int, list[Any]] = {}
    for number in range(1, LARGEST_COORDINATION + 1):
        known = [
            (entry[0], dict(entry[1]) if len(entry) > 1 else None)
            for entry in parameters.get(number, {}).values()
        ]
        others = [(name, None) for name in _OTHER_MOTIFS.get(number, [])]
        found[number] = [LocalStructOrderParams([name], parameters=[p]) for name, p in [*known, *others]]
    return found


def site_fingerprints(structure: Structure) -> np.ndarray:
    """For each atom and coordination number its weight, and weight times each order parameter: (n, features).

    Raises RuntimeError or ValueError where no Voronoi cell can be built (cells far too large or flat).
    """
    from pymatgen.analysis.local_env import CrystalNN

    # Neither electronegativities nor distances beyond the Voronoi cell's solid angles count.
    finder = CrystalNN(distance_cutoffs=None, x_diff_weight=0)
    rows = []
    for index in range(len(structure)):
        with warnings.catch_warnings():
            # It asks for oxidation states, which have no weight here.
            warnings.simplefilter("ignore")
            found = finder.get_nn_data(structure, index)
        row: list[float] = []
        for number, parameters in _order_parameters().items():
            weight = float(found.cn_weights.get(number, 0.0))
            row.append(weight)
            if weight == 0.0:
                row += [0.0] * len(parameters)
                continue
            sites = [structure[index], *(neighbour["site"] for neighbour in found.cn_nninfo[number])]
            around = list(range(1, len(sites)))
            row += [
                weight * float(p.get_order_parameters(sites, 0, indices_neighs=around)[0] or 0.0)
                for p in parameters
            ]
        rows.append(row)
    return np.array(rows)


def structure_fingerprint(structure: Structure) -> np.ndarray:
    """Mean, spread, least and most over atoms of each site feature: (4 x features,); raises as `site_fingerprints`."""
    sites = site_fingerprints(structure)
    return np.concatenate([sites.mean(0), sites.std(0), sites.min(0), sites.max(0)])


def fingerprint_distance(predicted: Structure, true: Structure) -> float:
    """Euclidean distance of two structure fingerprints; raises as `site_fingerprints` does."""
    return float(np.linalg.norm(structure_fingerprint(predicted) - structure_fingerprint(true)))
