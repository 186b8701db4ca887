"""Records of the benchmark: known crystals to predict, and what a prediction cost."""

from __future__ import annotations

from dataclasses import dataclass

from mapcsp.records import Crystal, FormulaEntry


@dataclass(frozen=True, eq=False)
class KnownTarget:
    """A known crystal and what the predictor is told of it.

    number: place in the sample, from 0. entry: the formula with what may be known; its id is the crystal's in the table.
    polymorphs: the table's other crystals of this formula. label_key, z: of its canonical label and primitive cell.
    on_hull: less than 1 meV/atom above the hull; None where the table does not say. trained: whether the symmetry model
    was trained on a crystal of this formula.
    """

    number: int
    entry: FormulaEntry
    crystal: Crystal
    polymorphs: tuple[Crystal, ...]
    label_key: str
    z: int
    on_hull: bool | None
    trained: bool


@dataclass(frozen=True)
class PredictionCost:
    """What the pool of one formula cost, and whether its right label was proposed.

    search_core_s, relax_core_s: CPU seconds of one core, models loaded before; the relaxation of a chunk is shared out by
    atoms times steps. wall_s: elapsed. fitness_evaluations: of the genetic searches. energy_evaluations: of the potential.
    true_label_rank: place of the right label among those predicted, from 0; None if it is not there or none is predicted.
    """

    formula_id: str
    search_core_s: float
    relax_core_s: float
    wall_s: float
    fitness_evaluations: int
    energy_evaluations: int
    true_label_rank: int | None


@dataclass(frozen=True)
class RescoreCost:
    """What the second energies of one formula cost: CPU seconds of one core, elapsed seconds, energies."""

    formula_id: str
    core_s: float
    wall_s: float
    energies: int
