"""First populations: known geometries, the user's own crystals, and random ones."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from pathlib import Path

import numpy as np

from mapcsp.crystals import from_structure, to_structure
from mapcsp.errors import UserError
from mapcsp.ga.genes import GeneKind, GeneLayout, sound_cells
from mapcsp.records import Crystal, LabelPrediction, SeedGeometry
from mapcsp.structure_files.read import EXPECTED, read_crystals
from mapcsp.symmetry.cells import cell_volume_ang3, scale_to_volume
from mapcsp.symmetry.labels import encode_canonical

# Coordinates of a group of one crystal still vary: this is their smallest spread, fractional.
MIN_FREE_SPREAD = 0.02
# Cells are drawn from the prediction up to this many times before the predicted one is taken.
MAX_DRAWS = 20


@dataclass(frozen=True, eq=False)
class Seed:
    """A geometry to start from. origin: `prototype`, or `user_seed` for a crystal that the user named."""

    geometry: SeedGeometry
    origin: str


def label_seeds(
    prediction: LabelPrediction, user: dict[str, list[SeedGeometry]], prototypes: bool = True
) -> tuple[Seed, ...]:
    """All seeds of one label, the user's first; without `prototypes` the user's alone."""
    own = [Seed(g, "user_seed") for g in user.get(prediction.label.key, [])]
    return (*own, *(Seed(g, "prototype") for g in prediction.seeds if prototypes))


def random_genes(layout: GeneLayout, count: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform coordinates, and cells as uncertain as predicted; (count, g)."""
    genes = rng.random((count, layout.n_genes))
    for column, gene in enumerate(layout.genes):
        if gene.kind is not GeneKind.COORDINATE:
            genes[:, column] = gene.centre + gene.spread * rng.standard_normal(count)
    return make_sound(layout, layout.confine(genes), rng)


def seeded_genes(
    layout: GeneLayout, seeds: tuple[Seed, ...], count: int, rng: np.random.Generator
) -> np.ndarray:
    """Seeds as they are, then their variations by weight, `count` in all; (count, g)."""
    cells = np.stack([s.geometry.cell for s in seeds])
    free = np.stack([s.geometry.free_coords for s in seeds])
    spread = np.maximum(np.stack([s.geometry.free_spread for s in seeds]), MIN_FREE_SPREAD)
    weight = np.array([s.geometry.weight for s in seeds])
    exact = layout.encode(cells, free)[:count]
    chosen = rng.choice(len(seeds), count - len(exact), p=weight / weight.sum())
    varied = layout.encode(cells[chosen], free[chosen])
    noise = rng.standard_normal(varied.shape)
    noise[:, : layout.n_coordinates] *= spread[chosen]
    for column in range(layout.n_coordinates, layout.n_genes):
        noise[:, column] *= 0.5 * layout.genes[column].spread
    return make_sound(layout, np.concatenate([exact, layout.confine(varied + noise)]), rng)


def make_sound(layout: GeneLayout, genes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw impossible cells again, nearer to the predicted one each time."""
    if GeneKind.ANGLE not in {g.kind for g in layout.genes}:
        return genes
    centre = np.array([g.centre for g in layout.genes])
    for _ in range(MAX_DRAWS):
        bad = ~sound_cells(layout.decode_cells(genes))
        if not bad.any():
            return genes
        genes[bad, layout.n_coordinates :] += (0.3 * (centre - genes[bad]))[:, layout.n_coordinates :]
    genes[bad, layout.n_coordinates :] = centre[layout.n_coordinates :]
    return genes


def read_user_seeds(
    files: tuple[str, ...], amounts: dict[str, int], labels: tuple[LabelPrediction, ...]
) -> dict[str, list[SeedGeometry]]:
    """Map the user's crystals onto a formula, in every way that its amounts allow.

    files: structure files, each with one crystal or several. amounts: atoms of each element in the formula. Returns
    geometries by label key, for the labels of the task alone; crystals of another composition are passed over. The cell
    is scaled to the predicted volume unless the crystal has the formula itself. Raises UserError for a file that cannot be
    read.
    """
    found: dict[str, list[SeedGeometry]] = {}
    by_key = {prediction.label.key: prediction for prediction in labels}
    for name in files:
        for renamed, own in (s for c in seed_crystals(Path(name)) for s in _substitutions(c, amounts)):
            try:
                encoded = encode_canonical(renamed)
            except ValueError as error:
                raise UserError(
                    f"reconstruct.seed_structures: {name}: {error}; symmetrise or remove it"
                ) from None
            prediction = by_key.get(encoded.label.key)
            if prediction is None:
                continue
            cell = encoded.cell
            if not own:
                cell = scale_to_volume(cell, cell_volume_ang3(prediction.cell))
            # A count of 0 says that no training crystal is behind it.
            geometry = SeedGeometry(cell, encoded.free_coords, np.zeros(len(encoded.free_coords)), 1.0, 0)
            found.setdefault(encoded.label.key, []).append(geometry)
    return found


@lru_cache(maxsize=256)
def seed_crystals(path: Path) -> tuple[Crystal, ...]:
    """The primitive cells of the crystals in a file; warns of what is to be known of how they were read.

    Raises UserError if one of them cannot be read.
    """
    crystals = []
    try:
        for found in read_crystals(path):
            if found.crystal is None:
                raise UserError(f"{found.name} cannot be read as a crystal ({found.reason}); {EXPECTED}")
            for caution in found.cautions:
                warnings.warn(f"reconstruct.seed_structures: {found.name}: {caution}", stacklevel=2)
            crystals.append(from_structure(to_structure(found.crystal).get_primitive_structure()))
    except UserError as error:
        raise UserError(f"reconstruct.seed_structures: {error}") from None
    return tuple(crystals)


def _substitutions(crystal: Crystal, amounts: dict[str, int]) -> list[tuple[Crystal, bool]]:
    """The crystal with the formula's elements in its roles, and whether it has them already."""
    names, counts = np.unique(crystal.species, return_counts=True)
    ratios = dict(zip(names.tolist(), (counts // np.gcd.reduce(counts)).tolist()))
    divisor = int(np.gcd.reduce(list(amounts.values())))
    wanted = {element: n // divisor for element, n in amounts.items()}
    if sorted(ratios.values()) != sorted(wanted.values()):
        return []
    if ratios == wanted:
        return [(crystal, True)]
    renamed = []
    for elements in permutations(sorted(wanted)):
        if all(ratios[old] == wanted[new] for old, new in zip(sorted(ratios), elements)):
            mapping = dict(zip(sorted(ratios), elements))
            species = tuple(mapping[s] for s in crystal.species)
            renamed.append((Crystal(crystal.lattice_ang, species, crystal.frac_coords), False))
    return renamed
