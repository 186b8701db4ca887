"""Errors of the listed sites of two symmetrised CIF files, as AlphaCrystal's accuracy program computes them.

The program (commit 92b613e) pairs sites in the order of the files and looks at no origin or axis choice but
the files' own, though the paper speaks of the lowest value over axis orders. `mapcsp.metrics.structures`
has a well-defined one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pymatgen.core.operations import SymmOp
from pymatgen.io.cif import CifFile

IMAGE_TOLERANCE = 1e-4
_THIRDS = (1 / 3, 2 / 3)


@dataclass(frozen=True)
class SiteErrors:
    """Errors over the 3n fractional coordinates of n listed sites; mse is the square of rmse."""

    n_sites: int
    rmse: float
    mae: float

    @property
    def mse(self) -> float:
        """Mean squared error."""
        return self.rmse**2


@dataclass(frozen=True, eq=False)
class ListedSites:
    """What a CIF lists: coordinates (n, 3), multiplicities, symmetry operations."""

    frac_coords: np.ndarray
    multiplicities: tuple[int, ...]
    operations: tuple[SymmOp, ...]


def published_site_errors(predicted_cif: Path, true_cif: Path) -> SiteErrors | None:
    """Compare the listed sites of two CIF files; None if they list unequally many.

    Each target site is compared with the nearest image (in fractional coordinates, without wrapping around)
    of the predicted site at the same place of its list, among as many images as the listed multiplicities
    say: the program counts through one list of all images, so a site whose listed multiplicity is wrong
    shifts those after it.
    """
    predicted, true = read_listed_sites(predicted_cif), read_listed_sites(true_cif)
    if len(predicted.frac_coords) != len(true.frac_coords):
        return None
    images = np.concatenate(
        [_images(site, predicted.operations) for site in _with_exact_thirds(predicted.frac_coords)]
    )
    differences = []
    start = 0
    for target, multiplicity in zip(true.frac_coords, predicted.multiplicities):
        own = images[start : start + multiplicity]
        start += multiplicity
        differences.append(own[((own - target) ** 2).sum(axis=1).argmin()] - target)
    errors = np.array(differences)
    return SiteErrors(len(errors), float(np.sqrt((errors**2).mean())), float(np.abs(errors).mean()))


def read_listed_sites(path: Path) -> ListedSites:
    """Read sites and operations of a CIF as they stand there."""
    (block, *_) = CifFile.from_file(path).data.values()
    data = block.data
    columns = [[float(text.split("(")[0]) for text in data[f"_atom_site_fract_{axis}"]] for axis in "xyz"]
    multiplicities = tuple(int(text) for text in data["_atom_site_symmetry_multiplicity"])
    operations = tuple(SymmOp.from_xyz_str(text) for text in data["_symmetry_equiv_pos_as_xyz"])
    return ListedSites(np.array(columns).T, multiplicities, operations)


def _with_exact_thirds(frac_coords: np.ndarray) -> np.ndarray:
    exact = frac_coords.copy()
    for third in _THIRDS:
        exact[np.abs(exact / third - 1.0) < IMAGE_TOLERANCE] = third
    return exact


def _images(site: np.ndarray, operations: tuple[SymmOp, ...]) -> np.ndarray:
    found: list[np.ndarray] = []
    for operation in operations:
        image = np.mod(operation.operate(site), 1.0)
        gaps = [np.abs(image - other - np.round(image - other)).max() for other in found]
        if all(gap >= IMAGE_TOLERANCE for gap in gaps):
            found.append(image)
    return np.array(found)
