"""The stages of the workflow in one process, for many formulas at once: for the benchmark and the ranking's training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mapcsp.deeprelax.run import prerelaxed
from mapcsp.ga.pool import pool_candidates
from mapcsp.ga.reconstruct import reconstruct_task
from mapcsp.maps.models import MapModel
from mapcsp.maps.models import load_model as load_maps
from mapcsp.maps.predict import predict_maps
from mapcsp.planning.plan import plan_formula
from mapcsp.records import (
    CandidatePool,
    FormulaEntry,
    FormulaMaps,
    RelaxedPool,
    SymmetryPrediction,
    TaskResult,
)
from mapcsp.relax.potential import Potential
from mapcsp.relax.relax import relax_pools
from mapcsp.settings import ReconstructSettings, Settings
from mapcsp.symmetry.predict import SymmetryPredictor, symmetry_predictor


@dataclass(frozen=True, eq=False)
class Models:
    """The networks that a prediction needs."""

    symmetry: SymmetryPredictor
    maps: MapModel


def load_models(settings: Settings) -> Models:
    """Load the networks that the settings name; raises UserError if one is missing."""
    return Models(symmetry_predictor(settings.symmetry), load_maps(settings.maps.model))


def search_formula(
    entry: FormulaEntry,
    prediction: SymmetryPrediction,
    models: Models,
    settings: Settings,
    search: ReconstructSettings,
) -> list[TaskResult]:
    """Maps of the predicted labels, and one search a space group; results in the order of the plan."""
    maps = tuple(predict_maps(models.maps, prediction.labels, entry.amounts, settings.maps.batch_size))
    tasks = plan_formula(prediction, FormulaMaps(prediction.id, maps), settings.seed)
    return [reconstruct_task(task, search) for task in tasks]


def predict_pool(
    entry: FormulaEntry, models: Models, settings: Settings, hidden_formula: int | None = None
) -> CandidatePool:
    """Everything before relaxation, for one formula: labels, maps, one search a space group, one pool.

    hidden_formula: hash of a formula whose own training crystals are left out. Raises UserError if the model cannot do that.
    """
    prediction = models.symmetry(entry, hidden_formula)
    results = search_formula(entry, prediction, models, settings, settings.reconstruct)
    return pool_candidates(results, settings.pool)


def relax_together(
    pools: Sequence[CandidatePool], settings: Settings, potential: Potential
) -> list[RelaxedPool]:
    """Relax the pools of many formulas, in one pass first where the settings say so."""
    return relax_pools(prerelaxed(pools, settings.relax), settings.relax, potential)
