"""The eight metrics of AlphaCrystal-II, and AlphaCrystal's, for one predicted and one true crystal.

`compare_structures` has well-defined definitions: primitive cells, species respected, values an atom.
`compare_published` reproduces the numbers of the papers' own programs, which depend on cells, origins and
file order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from scipy.optimize import linear_sum_assignment

from mapcsp.crystals import distance_matrix, from_structure, neighbour_distances, to_structure
from mapcsp.maps.alignment import align_atoms
from mapcsp.metrics import point_clouds
from mapcsp.metrics.environments import ofm_distance, powder_distance
from mapcsp.metrics.fingerprints import fingerprint_distance
from mapcsp.metrics.maps import distance_overlap
from mapcsp.metrics.match import ALPHACRYSTAL
from mapcsp.metrics.wyckoff_sites import published_site_errors
from mapcsp.records import Crystal

N_NEIGHBOURS = 24
CellEnergies = Callable[[Sequence[Crystal]], Sequence[float]]
"""Potential energies of crystals, eV a cell, such as M3GNet's."""


@dataclass(frozen=True)
class StructureDistances:
    """How far a predicted crystal is from the true one; None where a metric does not apply, with why in `reasons`.

    energy_ev: difference of potential energies. By default eV/atom; as published, eV of the cells as they
    are. superpose_ang: RMS displacement of superposed atoms, Å. sinkhorn_ang: transport cost, Å; by default
    per atom. fingerprint: CrystalNN site statistics. ofm: orbital-field matrices. powder: diffraction
    patterns. wyckoff_mse, wyckoff_rmse, wyckoff_mae: of fractional coordinates. distance_overlap: at 8 Å, a
    share. rms: the matcher's, with AlphaCrystal's tolerances, in units of (V/n)^(1/3). chamfer_ang,
    hausdorff_ang, superpose_in_order_ang: as published only.
    """

    energy_ev: float | None
    superpose_ang: float | None
    sinkhorn_ang: float | None
    fingerprint: float | None
    ofm: float | None
    wyckoff_mse: float | None
    wyckoff_rmse: float | None
    wyckoff_mae: float | None
    distance_overlap: float | None
    rms: float | None
    powder: float | None
    chamfer_ang: float | None = None
    hausdorff_ang: float | None = None
    superpose_in_order_ang: float | None = None
    reasons: tuple[tuple[str, str], ...] = ()


def compare_structures(
    predicted: Crystal, true: Crystal, cell_energies: CellEnergies | None = None, with_powder: bool = True
) -> StructureDistances:
    """Compare two crystals of one formula by definitions that do not depend on cells, origins or order.

    energy: |difference| of energies per atom. superpose: RMS displacement of the best match of primitive
    cells scaled to one volume, times (V/n)^(1/3) of the truth. sinkhorn: exact transport cost per atom
    between environments, each the distances to its 24 nearest neighbours, element by element (no
    regularisation is needed at this size). wyckoff: over all fractional coordinates of atoms so matched,
    the best of all axis, origin and site choices. distance_overlap: atoms of each element in the order that
    fits best. Both matched ones need a match within ltol .6, stol .6, 20°. with_powder: also powder, which is
    slow and none of AlphaCrystal-II's eight. Raises ValueError for crystals of different formulas.
    """
    if _fractions(predicted) != _fractions(true):
        raise ValueError(f"crystals of different formulas: {predicted.species} and {true.species}")
    reasons: dict[str, str] = {} if with_powder else {"powder": "not asked for"}
    p, t = _primitive(predicted), _primitive(true)
    p_structure, t_structure = to_structure(p), to_structure(t)
    matched = _matched(p_structure, t_structure)
    if matched is None:
        for name in ("superpose_ang", "wyckoff_mse", "wyckoff_rmse", "wyckoff_mae", "rms"):
            reasons[name] = "no match of the primitive cells within ltol .6, stol .6, 20 degrees"
    rms, errors = matched if matched is not None else (None, None)
    overlap = _overlap(p, t)
    if overlap is None:
        reasons["distance_overlap"] = "primitive cells of different size, or no pair of atoms within 8 Å"
    return StructureDistances(
        energy_ev=_energy_per_atom(p, t, cell_energies, reasons),
        superpose_ang=None if rms is None else rms * (t.volume_ang3 / t.n_atoms) ** (1 / 3),
        sinkhorn_ang=environment_transport_ang(p, t),
        fingerprint=_fingerprint(p_structure, t_structure, reasons),
        ofm=ofm_distance(p_structure, t_structure),
        wyckoff_mse=None if errors is None else float((errors**2).mean()),
        wyckoff_rmse=None if errors is None else float(np.sqrt((errors**2).mean())),
        wyckoff_mae=None if errors is None else float(np.abs(errors).mean()),
        distance_overlap=overlap,
        rms=rms,
        powder=powder_distance(p_structure, t_structure) if with_powder else None,
        reasons=tuple(sorted(reasons.items())),
    )


def compare_published(
    predicted_cif: Path, true_cif: Path, cell_energies: CellEnergies | None = None
) -> StructureDistances:
    """Compare two CIF files by the definitions of the papers' own programs, to their digits.

    Agrees with the stored runs of CSPBenchMetrics (commit 127cc49) and of AlphaCrystal's accuracy program
    (92b613e); where those print 5555 or 9999, None stands here with the reason. distance_overlap is in
    neither, so None.
    """
    predicted, true = (
        Structure.from_file(path).remove_oxidation_states() for path in (predicted_cif, true_cif)
    )
    reasons = {"distance_overlap": "the published programs do not compute it"}
    p_points, t_points = predicted.cart_coords, true.cart_coords
    sites = published_site_errors(predicted_cif, true_cif)
    if sites is None:
        for name in ("wyckoff_mse", "wyckoff_rmse", "wyckoff_mae"):
            reasons[name] = "the files list unequally many sites"
    found = _loose_matcher(primitive=True).get_rms_dist(true, predicted)
    if found is None:
        reasons["rms"] = "no match within ltol .6, stol .6, 20 degrees"
    superposed = point_clouds.superpose_nearest_ang(t_points, p_points)
    if superposed is None:
        reasons["superpose_ang"] = "an atom has no partner within 5 Å"
    in_order = point_clouds.superpose_in_order_ang(t_points, p_points)
    if in_order is None:
        reasons["superpose_in_order_ang"] = "unequally many atoms"
    return StructureDistances(
        energy_ev=_energy_of_cells(from_structure(predicted), from_structure(true), cell_energies, reasons),
        superpose_ang=superposed,
        sinkhorn_ang=point_clouds.sinkhorn_ang(t_points, p_points),
        fingerprint=_fingerprint(predicted, true, reasons),
        ofm=ofm_distance(predicted, true, as_published=True),
        wyckoff_mse=None if sites is None else sites.mse,
        wyckoff_rmse=None if sites is None else sites.rmse,
        wyckoff_mae=None if sites is None else sites.mae,
        distance_overlap=None,
        rms=None if found is None else float(found[0]),
        powder=powder_distance(predicted, true),
        chamfer_ang=point_clouds.chamfer_ang(t_points, p_points),
        hausdorff_ang=point_clouds.hausdorff_ang(t_points, p_points),
        superpose_in_order_ang=in_order,
        reasons=tuple(sorted(reasons.items())),
    )


def environment_transport_ang(predicted: Crystal, true: Crystal, k: int = N_NEIGHBOURS) -> float:
    """Least mean RMS difference of neighbour distances when atoms are paired within each element, Å per atom.

    Independent of cells, origins and order; 0 for equal crystals. Cells of z and z' formula units are
    repeated to their least common multiple. Raises ValueError for crystals of different formulas.
    """
    if _fractions(predicted) != _fractions(true):
        raise ValueError(f"crystals of different formulas: {predicted.species} and {true.species}")
    size = math.lcm(predicted.n_atoms, true.n_atoms)
    total = 0.0
    rows = [(np.array(c.species), neighbour_distances(c, k), size // c.n_atoms) for c in (predicted, true)]
    for symbol in sorted(set(true.species)):
        first, second = (np.repeat(d[names == symbol], times, axis=0) for names, d, times in rows)
        cost = np.sqrt(((first[:, None] - second[None]) ** 2).mean(axis=-1))
        total += float(cost[linear_sum_assignment(cost)].sum())
    return total / size


def _energy_per_atom(
    predicted: Crystal, true: Crystal, cell_energies: CellEnergies | None, reasons: dict[str, str]
) -> float | None:
    if cell_energies is None:
        reasons["energy_ev"] = "no potential was given"
        return None
    energies = cell_energies([predicted, true])
    return float(abs(energies[0] / predicted.n_atoms - energies[1] / true.n_atoms))


def _energy_of_cells(
    predicted: Crystal, true: Crystal, cell_energies: CellEnergies | None, reasons: dict[str, str]
) -> float | None:
    if cell_energies is None:
        reasons["energy_ev"] = "no potential was given"
        return None
    energies = cell_energies([predicted, true])
    return float(abs(energies[0] - energies[1]))


def _fingerprint(predicted: Structure, true: Structure, reasons: dict[str, str]) -> float | None:
    try:
        return fingerprint_distance(predicted, true)
    except (RuntimeError, ValueError, IndexError) as error:
        # CrystalNN finds no Voronoi neighbours in cells that are far too large or flat.
        reasons["fingerprint"] = f"CrystalNN failed: {error}"
    return None


def _primitive(crystal: Crystal) -> Crystal:
    primitive = to_structure(crystal).get_primitive_structure()
    return from_structure(primitive.get_reduced_structure("niggli"))


def _loose_matcher(primitive: bool) -> StructureMatcher:
    return StructureMatcher(
        ltol=ALPHACRYSTAL.ltol,
        stol=ALPHACRYSTAL.stol,
        angle_tol=ALPHACRYSTAL.angle_tol_deg,
        primitive_cell=primitive,
    )


def _matched(predicted: Structure, true: Structure) -> tuple[float, np.ndarray] | None:
    """RMS of the best match and differences of fractional coordinates in the truth's cell, (n, 3)."""
    if len(predicted) != len(true):
        return None
    matcher = _loose_matcher(primitive=False)
    found = matcher.get_rms_dist(true, predicted)
    alike = matcher.get_s2_like_s1(true, predicted) if found is not None else None
    if found is None or alike is None:
        return None
    difference = np.array([a.frac_coords - b.frac_coords for a, b in zip(alike, true)])
    return float(found[0]), difference - np.round(difference)


def _overlap(predicted: Crystal, true: Crystal) -> float | None:
    if predicted.n_atoms != true.n_atoms:
        return None
    p, t = (_by_element(crystal) for crystal in (predicted, true))
    groups = np.unique(list(t.species), return_inverse=True)[1]
    p_map, t_map = distance_matrix(p), distance_matrix(t)
    order = align_atoms(p_map, t_map, groups)
    return distance_overlap(p_map, t_map[np.ix_(order, order)])


def _by_element(crystal: Crystal) -> Crystal:
    order = sorted(range(crystal.n_atoms), key=lambda i: (crystal.species[i], i))
    return Crystal(crystal.lattice_ang, tuple(crystal.species[i] for i in order), crystal.frac_coords[order])


def _fractions(crystal: Crystal) -> tuple[tuple[str, float], ...]:
    return tuple((s, crystal.species.count(s) / crystal.n_atoms) for s in sorted(set(crystal.species)))
