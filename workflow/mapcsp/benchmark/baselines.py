"""What a prediction must beat: random symmetric crystals, and known crystals with other elements put in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from mapcsp.crystals import from_structure
from mapcsp.elements import cell_species, composition_key, scaled_element_features, standard_order
from mapcsp.errors import UserError
from mapcsp.provenance import derive_seed
from mapcsp.records import (
    Candidate,
    CandidatePool,
    FitnessTerms,
    FormulaEntry,
    LabelPrediction,
    SymmetryPrediction,
)
from mapcsp.symmetry.cells import cell_volume_ang3, scale_to_volume
from mapcsp.symmetry.geometry import EncodedCrystal, label_geometry
from mapcsp.symmetry.labels import anonymise, encode_canonical, role_free_order
from mapcsp.training.encoded import EncodedKnown
from mapcsp.training.geometries import anonymous_geometry

# Most space groups do not fit a small cell; so many are drawn for each crystal before giving up.
DRAWS_PER_CRYSTAL = 50


def random_pool(entry: FormulaEntry, count: int, seed: int) -> CandidatePool:
    """Random symmetric crystals of a formula, `count` of them if so many can be built.

    z is drawn from those allowed and the space group from 2 to 230, unless it is given; sites and cell are pyxtal's
    (Fredericks et al., Comput. Phys. Commun. 261, 107810, 2021). Raises UserError without pyxtal.
    """
    rng = np.random.default_rng(derive_seed(seed, "random", composition_key(cell_species(entry.amounts, 1))))
    candidates: list[Candidate] = []
    for _ in range(DRAWS_PER_CRYSTAL * count):
        if len(candidates) == count:
            break
        z = int(rng.choice(entry.z_allowed))
        number = entry.space_group or int(rng.integers(2, 231))
        encoded = _random_crystal(entry, z, number, int(rng.integers(2**31)))
        if encoded is None:
            continue
        place = len(candidates)
        candidates.append(
            Candidate(
                id=f"{entry.id}_random_{place:03d}",
                task_id=f"{entry.id}-random",
                formula_id=entry.id,
                formula=entry.formula,
                z=z,
                label=encoded.label,
                label_rank=0,
                label_log_prob=0.0,
                origin="random",
                crystal=label_geometry(encoded.label).decode(encoded.cell, encoded.free_coords),
                cell=encoded.cell,
                free_coords=encoded.free_coords,
                fitness=FitnessTerms(0.0),
                seed=seed,
            )
        )
    if not candidates:
        reason = "no random crystal could be built"
        return CandidatePool(entry.id, entry.formula, (), (), "failed", reason)
    return CandidatePool(entry.id, entry.formula, tuple(candidates))


def _random_crystal(entry: FormulaEntry, z: int, space_group: int, seed: int) -> EncodedCrystal | None:
    """One crystal with `z` formula units in its primitive cell, or None where the group does not fit."""
    try:
        from pyxtal import pyxtal
        from pyxtal.msg import Comp_CompatibilityError
    except ImportError:
        raise UserError(
            "the variant `random` needs pyxtal: pip install 'mapcsp[tables]', or leave it out of benchmark.variants"
        ) from None
    elements, amounts = zip(*((element, z * n) for element, n in standard_order(entry.amounts)))
    built = pyxtal()
    try:
        built.from_random(
            3, space_group, list(elements), list(amounts), conventional=False, max_count=5, random_state=seed
        )
    except Comp_CompatibilityError:
        return None
    if not built.valid:
        return None
    try:
        encoded = encode_canonical(from_structure(built.to_pymatgen()))
    except ValueError:
        return None
    return encoded if encoded.z == z else None


class TemplateLibrary:
    """Known crystals by their label without elements."""

    def __init__(self, rows: Sequence[EncodedKnown]) -> None:
        self._rows: dict[str, list[EncodedKnown]] = defaultdict(list)
        for row in rows:
            self._rows[row.anonymous_key].append(row)

    def fill(self, prediction: SymmetryPrediction, size: int, seed: int) -> CandidatePool:
        """The best `size` predicted labels, each filled from the known crystal of that label with the most similar elements.

        Crystals of the formula itself are left out. The volume is the predicted one. Labels without a known crystal
        are passed over.
        """
        candidates: list[Candidate] = []
        for label in prediction.labels:
            if len(candidates) == size:
                break
            row = self._nearest(label)
            if row is not None:
                candidates.append(_filled(prediction, label, row, len(candidates), seed))
        if not candidates:
            reason = "no known crystal has a predicted label"
            return CandidatePool(prediction.id, prediction.formula, (), (), "failed", reason)
        return CandidatePool(prediction.id, prediction.formula, tuple(candidates))

    def _nearest(self, label: LabelPrediction) -> EncodedKnown | None:
        anonymous, elements = anonymise(label.label)
        # By what they are made of: tables write one compound in several ways.
        own = composition_key(label_geometry(label.label).species)
        rows = [r for r in self._rows.get(anonymous.key, []) if _composition(r) != own]
        if not rows:
            return None
        wanted = scaled_element_features(elements)
        weights = np.array(anonymous.counts) / sum(anonymous.counts)
        there = np.array([scaled_element_features(row.elements) for row in rows])
        apart = np.sqrt(((there - wanted) ** 2).mean(-1)) @ weights
        return rows[int(apart.argmin())]


def _composition(row: EncodedKnown) -> str:
    counts = zip(row.elements, row.anonymous.counts)
    return composition_key([element for element, count in counts for _ in range(count)])


def _filled(
    prediction: SymmetryPrediction, label: LabelPrediction, row: EncodedKnown, place: int, seed: int
) -> Candidate:
    _, elements = anonymise(label.label)
    unit_cell, by_role = anonymous_geometry(row)
    free_coords = np.empty(len(by_role))
    free_coords[role_free_order(label.label, elements)] = by_role
    cell = scale_to_volume(unit_cell, float(cell_volume_ang3(label.cell)))
    return Candidate(
        id=f"{prediction.id}_template_{place:03d}",
        task_id=f"{prediction.id}-template",
        formula_id=prediction.id,
        formula=prediction.formula,
        z=label.z,
        label=label.label,
        label_rank=place,
        label_log_prob=label.log_prob,
        origin="template",
        crystal=label_geometry(label.label).decode(cell, free_coords),
        cell=cell,
        free_coords=free_coords,
        fitness=FitnessTerms(0.0),
        seed=seed,
    )
