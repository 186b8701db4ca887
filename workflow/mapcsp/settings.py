"""Every setting of a run: one frozen model, from which config.yaml, its documentation and its schema are generated.

A stage reads only its own section, from `results/settings/<section>.json`, so that a change reruns what it concerns.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mapcsp.errors import UserError


class Section(BaseModel):
    """Base of all sections: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class IntakeSettings(Section):
    """Reading the formula list."""

    max_atoms: int = Field(12, ge=1, le=24, description="Most atoms in a primitive cell. Raise it (up to 24) for larger cells; time grows quickly.")
    smact_filter: bool = Field(False, description="Reject formulas that fail smact's charge-neutrality or electronegativity test. Leave off for alloys and intermetallics.")


class FeaturesSettings(Section):
    """Elemental features."""

    length: int = Field(24, ge=1, le=24, description="Padded length L of the feature tensors, atoms. At least intake.max_atoms.")


class SymmetrySettings(Section):
    """Predicting Z, labels and cells."""

    model: str = Field("symmetry", description="Entry of resources/models/registry.yaml to predict with.")
    n_labels: int = Field(40, ge=1, le=500, description="Labels kept a formula. More labels find rarer structures and cost search and relaxation time.")
    coverage: float = Field(0.9, gt=0, le=1, description="Probability that the space groups to run must reach together.")
    max_space_groups: int = Field(10, ge=1, le=230, description="Most space groups to run a formula: one search each.")
    max_z: int = Field(4, ge=1, le=24, description="Most values of Z tried for a formula without a given Z.")


class MapsSettings(Section):
    """Predicting distance and contact maps."""

    model: str = Field("maps", description="Entry of resources/models/registry.yaml to predict with.")
    batch_size: int = Field(64, ge=1, le=4096, description="Maps predicted in one network call. Lower it if memory is short.")


class PlanSettings(Section):
    """Cutting the work into jobs."""

    tasks_per_job: int = Field(0, ge=0, le=10000, description="Searches a job. 0 chooses: 1 for lists of at most 100 formulas, 60 for longer ones. Set it for a list that grows past 100.")
    formulas_per_chunk: int = Field(0, ge=0, le=10000, description="Formulas relaxed in one job, the potential loaded once. 0 chooses: 1 for lists of at most 100 formulas, 10 for longer ones.")


class ReconstructSettings(Section):
    """The genetic algorithm."""

    mode: Literal["full", "cmcrystal", "dmcrystal"] = Field("full", description="`full` uses all terms; the others reproduce the papers' searches.")
    population: int = Field(100, ge=10, le=10000, description="Individuals a generation.")
    max_evaluations: int = Field(20000, ge=0, le=10_000_000, description="Most fitness evaluations a search (the papers use 100,000).")
    patience: int = Field(25, ge=1, le=10000, description="Generations without progress after which a search stops or restarts.")
    mutation_rate: float = Field(0.1, ge=0, le=1, description="Chance of a random change a gene (the papers use 0.001).")
    crossover_rate: float = Field(0.7, ge=0, le=1, description="Chance that two parents exchange genes.")
    seed_fraction: float = Field(0.6, ge=0, le=1, description="Share of the first population from known geometries; the rest is random.")
    candidates_per_label: int = Field(3, ge=1, le=100, description="Distinct candidates kept a label.")
    candidates_per_task: int = Field(20, ge=1, le=1000, description="Distinct candidates kept a search.")
    weight_map: float = Field(1.0, ge=0, description="Weight of the log-likelihood of distances under the predicted map; 0 switches it off.")
    weight_contact: float = Field(1.0, ge=0, description="Weight of the contact map's Dice overlap; 0 switches it off.")
    weight_bond: float = Field(0.5, ge=0, description="Weight of bond validity (AlphaCrystal eq. 2); 0 switches it off.")
    weight_short: float = Field(5.0, ge=0, description="Weight of the penalty on short distances; 0 switches it off.")
    weight_prior: float = Field(0.1, ge=0, description="Weight of the log-probability of label and cell; 0 switches it off.")
    seed_structures: tuple[str, ...] = Field((), description="CIF files whose geometry is mapped onto the formula as extra seeds.")


class PoolSettings(Section):
    """Merging the searches of a formula."""

    size: int = Field(20, ge=1, le=1000, description="Candidates relaxed a formula (the papers: 50). Time is proportional to it.")
    min_distance_ratio: float = Field(0.5, gt=0, lt=1, description="Shortest distance allowed, as a share of the sum of covalent radii.")


class RelaxSettings(Section):
    """Relaxation by a machine-learned potential."""

    potential: str = Field("m3gnet", description="Potential to relax with: m3gnet, chgnet, sevennet-0, sevennet-l3i5, or ase:<import path>.")
    fmax_ev_per_ang: float = Field(0.05, gt=0, le=1, description="Largest force at which a relaxation ends.")
    smax_gpa: float = Field(0.5, gt=0, le=10, description="Largest stress component at which a relaxation ends.")
    max_steps: int = Field(300, ge=0, le=10000, description="Most optimiser steps a structure.")
    batch_atoms: int = Field(512, ge=1, le=100000, description="Atoms relaxed in one batch. Lower it if memory is short.")
    keep_symmetry: bool = Field(False, description="Keep the space group during relaxation.")
    max_volume_change: float = Field(0.6, gt=0, le=10, description="Largest |ratio - 1| of volumes before and after; beyond it a candidate is dropped.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the potential runs; auto takes CUDA when there.")


class RankingSettings(Section):
    """The final answer."""

    top_k: int = Field(5, ge=1, le=100, description="Structures reported a formula.")
    rank_by: Literal["probability", "energy"] = Field("probability", description="`probability`: calibrated, from energy, label and fitness; `energy`: the potential alone, as in the papers.")
    symprec_ang: float = Field(0.1, gt=0, le=1, description="Tolerance for finding the space group of a relaxed crystal.")


class ReportSettings(Section):
    """The HTML report."""

    title: str = Field("mapcsp: predicted crystal structures", description="Heading of the report.")


class TrainingSettings(Section):
    """Training the networks; no prediction reads this."""

    data: str = Field("../shared/data", description="Folder of the structure tables. Relative to the run's folder.")
    tables: tuple[str, ...] = Field(("mp_train.parquet", "wbm_train.parquet"), description="Tables to learn from. Add your own in the same schema.")
    validation: str = Field("mp_val.parquet", description="Table to judge a model on. None of its formulas may be in the others.")


class Settings(Section):
    """The whole config."""

    formulas: str = Field("config/formulas.csv", description="Formula list, CSV or one formula a line. Relative to the run's folder, else to the repository.")
    seed: int = Field(1, ge=0, lt=2**31, description="Seed of everything random; same seed, same result.")
    intake: IntakeSettings = IntakeSettings()
    features: FeaturesSettings = FeaturesSettings()
    symmetry: SymmetrySettings = SymmetrySettings()
    maps: MapsSettings = MapsSettings()
    plan: PlanSettings = PlanSettings()
    reconstruct: ReconstructSettings = ReconstructSettings()
    pool: PoolSettings = PoolSettings()
    relax: RelaxSettings = RelaxSettings()
    ranking: RankingSettings = RankingSettings()
    report: ReportSettings = ReportSettings()
    training: TrainingSettings = TrainingSettings()


SECTIONS: dict[str, type[Section]] = {
    name: info.annotation
    for name, info in Settings.model_fields.items()
    if isinstance(info.annotation, type) and issubclass(info.annotation, Section)
}
S = TypeVar("S", bound=Section)


def parse_settings(config: dict[str, Any]) -> Settings:
    """Validate a config; raises UserError with one line a fault, naming the key, what was expected and what was got."""
    try:
        return Settings.model_validate(config)
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, e['loc'])) or 'config'}: {e['msg']} (got {e['input']!r})"
            if e["type"] != "extra_forbidden"
            else f"{'.'.join(map(str, e['loc']))}: unknown setting; see config/README.md"
            for e in error.errors()
        ]
        raise UserError("config: " + "; ".join(faults)) from None


def read_section(path: Path, kind: type[S]) -> S:
    """Read one section from `results/settings/<section>.json`."""
    from mapcsp.store import read_json

    try:
        return kind.model_validate(read_json(path))
    except ValidationError as error:
        raise UserError(f"{path} is not a valid {kind.__name__}: {error.error_count()} faults; run snakemake to rebuild it") from None
