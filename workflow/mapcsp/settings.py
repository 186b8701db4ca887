"""Every setting of a run: one frozen model, from which config.yaml, its documentation and its schema are generated.

A stage reads only its own section, from `results/settings/<section>.json`, so that a change reruns what it concerns.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mapcsp.errors import UserError


class Section(BaseModel):
    """Base of all sections: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class IntakeSettings(Section):
    """Reading the formula list."""

    max_atoms: int = Field(12, ge=1, le=24, description="Most atoms in a primitive cell. Raise it (up to 24) for larger cells; time grows quickly. What lies beyond is named in the results (`not_tried`), with its probability.")
    smact_filter: bool = Field(False, description="Reject formulas that fail smact's charge-neutrality or electronegativity test. Leave off for alloys and intermetallics.")


class FeaturesSettings(Section):
    """Elemental features."""

    length: int = Field(24, ge=1, le=24, description="Padded length L of the feature tensors, atoms. At least intake.max_atoms.")


class SymmetrySettings(Section):
    """Predicting Z, labels and cells."""

    model: str = Field("symmetry", description="Entry of resources/models/registry.yaml to predict with.")
    n_labels: int = Field(40, ge=1, le=500, description="Labels kept a formula, counted among cells no larger than the label's own, so that a larger intake.max_atoms only adds labels. More labels find rarer structures and cost search and relaxation time.")
    coverage: float = Field(0.99, gt=0, le=1, description="Probability that the space groups to run must reach together. Lower it to save time: 0.9 halves the searches and loses one known crystal in thirty.")
    max_space_groups: int = Field(10, ge=1, le=230, description="Most space groups to run a formula, one search each; counted for each size of cell among those no larger, so that a larger intake.max_atoms only adds groups.")
    max_z: int = Field(4, ge=1, le=24, description="Most values of Z tried for a formula without a given Z, counted among cells no larger: a Z is left out if so many smaller ones are likelier. Lower it to save time.")


class MapsSettings(Section):
    """Predicting distance and contact maps."""

    model: str = Field("maps", description="Entry of resources/models/registry.yaml to predict with.")
    batch_size: int = Field(64, ge=1, le=4096, description="Maps predicted in one network call. Lower it if memory is short.")


class PlanSettings(Section):
    """Cutting the work into jobs."""

    tasks_per_job: int = Field(0, ge=0, le=10000, description="Most searches a job. 0 chooses by the length of the list: 1 up to 10 formulas, 20 up to 50, 100 up to 500, then 200. Finished searches are found again when it changes.")
    formulas_per_chunk: int = Field(0, ge=0, le=10000, description="Most formulas relaxed in one job, the potential loaded once. 0 chooses by the length of the list: 1 up to 10 formulas, 4 up to 50, 20 up to 500, then 40. Finished formulas are found again when it changes.")


# AlphaCrystal, section "3D crystal structure reconstruction algorithm": 100,000 evaluations as 1000 generations of 100,
# mutation rate 0.001, no known geometry. AlphaCrystal-II gives no figures of its own for DMCrystal. Neither gives a
# crossover rate, nor ends a search early.
PAPER_SEARCH: dict[str, int | float] = {
    "population": 100,
    "max_evaluations": 100_000,
    "mutation_rate": 0.001,
    "seed_fraction": 0.0,
    "patience": 1000,
}


class ReconstructSettings(Section):
    """The genetic algorithm."""

    mode: Literal["full", "cmcrystal", "dmcrystal"] = Field(
        "full",
        description="`full` uses all terms. `cmcrystal` (contact overlap times bond validity) and `dmcrystal` (distance error) reproduce the papers' searches: where left at their defaults, population, max_evaluations, mutation_rate, seed_fraction and patience become 100, 100,000, 0.001, 0 and 1000; the predicted cell stays fixed and no known geometry is used.",
    )
    population: int = Field(100, ge=10, le=10000, description="Individuals a generation.")
    max_evaluations: int = Field(10000, ge=0, le=10_000_000, description="Most fitness evaluations a search and Z (the papers use 100,000). Raise it for compositions unlike known crystals, where no known geometry helps.")
    patience: int = Field(40, ge=1, le=10000, description="Generations without progress after which a search stops or restarts.")
    mutation_rate: float = Field(0.05, ge=0, le=1, description="Chance of a random change a gene (the papers use 0.001).")
    crossover_rate: float = Field(0.8, ge=0, le=1, description="Chance that two parents exchange genes.")
    seed_fraction: float = Field(0.6, ge=0, le=1, description="Share of the first population from known geometries; the rest is random.")
    candidates_per_label: int = Field(3, ge=1, le=100, description="Distinct candidates kept a label.")
    candidates_per_task: int = Field(20, ge=1, le=1000, description="Distinct candidates kept a search, counted among cells no larger.")
    weight_map: float = Field(1.0, ge=0, description="Weight of the log-likelihood of distances under the predicted map; 0 switches it off.")
    weight_contact: float = Field(0.0, ge=0, description="Weight of the contact map's Dice overlap; 0 switches it off. No effect was measured beside the distances.")
    weight_bond: float = Field(0.0, ge=0, description="Weight of bond validity (AlphaCrystal eq. 2); 0 switches it off. No effect was measured beside the distances.")
    weight_short: float = Field(5.0, ge=0, description="Weight of the penalty on short distances; 0 switches it off. It matters for labels without a known geometry.")
    weight_prior: float = Field(0.01, ge=0, description="Weight of the log-probability of label and cell; 0 switches it off.")
    seed_structures: tuple[str, ...] = Field((), description="CIF files whose geometry is mapped onto the formula as extra seeds.")

    @model_validator(mode="before")
    @classmethod
    def _paper_search(cls, given: Any) -> Any:
        """Give the papers' modes the papers' search, except what differs from the defaults of `full`."""
        # config.yaml spells every default out, so that a value left alone and one set to the default look the same.
        if not isinstance(given, dict) or given.get("mode", "full") == "full":
            return given
        defaults = {name: cls.model_fields[name].default for name in PAPER_SEARCH}
        untouched = {k: v for k, v in PAPER_SEARCH.items() if given.get(k, defaults[k]) == defaults[k]}
        return {**given, **untouched}


class PoolSettings(Section):
    """Merging the searches of a formula."""

    size: int = Field(20, ge=1, le=1000, description="Candidates relaxed a formula (the papers: 50), counted among cells no larger, so that a larger intake.max_atoms only adds candidates. Time is proportional to it.")
    min_distance_ratio: float = Field(0.5, gt=0, lt=1, description="Shortest distance allowed, as a share of the sum of covalent radii.")


class RelaxSettings(Section):
    """Relaxation by a machine-learned potential."""

    potential: str = Field("m3gnet", description="Potential to relax with: m3gnet, chgnet, sevennet-0, sevennet-l3i5, matgl:<model name or folder>, or ase:<module>:<callable>.")
    method: Literal["fire", "bayesian"] = Field("fire", description="`fire` follows forces and stress; `bayesian` (BOWSR, as AlphaCrystal-II names it; the extra `bayesian`) tries geometries of the crystal's own symmetry by their energies alone, about 10 s a candidate.")
    bayesian_evaluations: int = Field(100, ge=10, le=10000, description="Energies tried a crystal where method is `bayesian`. Time grows faster than it.")
    prerelax: Literal["none", "deeprelax"] = Field("none", description="Relaxation in one pass by a network before the potential. `deeprelax` takes milliseconds a candidate; see resources/models/deeprelax for what it gains.")
    prerelax_max_uncertainty_ang: float = Field(0.15, gt=0, le=100, description="Candidates whose one-pass relaxation is less certain than this go to the potential as they were reconstructed.")
    fmax_ev_per_ang: float = Field(0.05, gt=0, le=1, description="Largest force at which a relaxation ends.")
    smax_gpa: float = Field(0.5, gt=0, le=10, description="Largest stress component at which a relaxation ends.")
    max_steps: int = Field(300, ge=0, le=10000, description="Most optimiser steps a structure.")
    batch_atoms: int = Field(512, ge=1, le=100000, description="Atoms relaxed in one batch. Lower it if memory is short.")
    keep_symmetry: bool = Field(False, description="Keep the space group during relaxation.")
    max_volume_change: float = Field(0.6, gt=0, le=10, description="Largest |ratio - 1| of volumes before and after; beyond it a candidate is dropped.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Where the potentials run, that of `rescore` and the one-pass network, too; auto takes CUDA when there. A calculator `ase:` chooses for itself.")
    trajectory: bool = Field(False, description="Also write every step of every relaxation, results/trajectories/<formula>/<candidate>.extxyz. Switch it on to look into a few formulas; it takes much space.")
    hull_table: str = Field("", description="Table of known phases (parquet or CSV: formula, formation_energy_per_atom in eV) for energies above the hull. Empty: the Materials Project's, if MP_API_KEY is in the environment and the extra `mp` is installed, else none.")


class RescoreSettings(Section):
    """Energies of the best relaxed candidates by a second potential, for the ranking."""

    potential: Literal["auto", "none", "sevennet-l3i5"] = Field("auto", description="`sevennet-l3i5`: SevenNet (GPL-3; the extra `sevennet`), which tells polymorphs apart better than M3GNet; `auto`: the same where it is installed and in conda environments, else none.")
    candidates: int = Field(10, ge=1, le=1000, description="Distinct candidates a formula, likeliest first, that get a second energy: about 0.2 s each.")

    def second_potential(self) -> str | None:
        """The second potential of this run, None without one: `auto` looks whether its package is installed here."""
        decided = self.decided(find_spec("sevenn") is not None).potential
        return None if decided == "none" else decided

    def decided(self, installed: bool) -> RescoreSettings:
        """These settings without `auto`. installed: whether the package `sevenn` is there where the jobs run."""
        if self.potential != "auto":
            return self
        return self.model_copy(update={"potential": "sevennet-l3i5" if installed else "none"})


class RankingSettings(Section):
    """The final answer."""

    top_k: int = Field(5, ge=1, le=100, description="Structures reported a formula.")
    rank_by: Literal["probability", "energy", "rescored_energy"] = Field("probability", description="`probability`: calibrated, from label, energies and geometry; `energy`: that of the relaxing potential alone, as in the papers; `rescored_energy`: that of `rescore.potential`, estimated for candidates that were not asked about.")
    symprec_ang: float = Field(0.1, gt=0, le=1, description="Tolerance for finding the space group of a relaxed crystal.")


class ReportSettings(Section):
    """The HTML report."""

    title: str = Field("mapcsp: predicted crystal structures", description="Heading of the report.")


class BenchmarkSettings(Section):
    """The benchmark on known crystals (`snakemake benchmark`); no prediction reads this."""

    table: str = Field("resources/benchmarks/well_known.parquet", description="Structure table, parquet in the data schema. Relative to the run's folder, else to the repository.")
    count: int = Field(100, ge=1, le=1_000_000, description="Crystals drawn from the table. A larger count keeps the crystals of a smaller one.")
    max_atoms: int = Field(20, ge=1, le=24, description="Most atoms in a drawn crystal's primitive cell, and the largest cell tried where only the formula is known.")
    seed: int = Field(1, ge=0, lt=2**31, description="Which crystals are drawn.")
    knows: Literal["formula", "formula_z", "formula_z_space_group"] = Field("formula_z", description="What the predictor is told of a crystal. Published figures for MP-20 are with formula and z.")
    variants: tuple[Literal["full", "one_potential", "second_energy", "energy", "unrelaxed", "cmcrystal", "dmcrystal", "prototype", "random", "template"], ...] = Field(("full", "one_potential", "second_energy", "energy", "unrelaxed", "cmcrystal", "dmcrystal", "prototype", "random", "template"), min_length=1, description="What is compared. The first five share one pool of candidates (two of them need a second potential); each of the others has its own.")
    variant_count: int = Field(100, ge=1, le=1_000_000, description="Crystals of the sample, from its start, on which variants with a pool of their own run.")
    templates: tuple[str, ...] = Field((), description="Structure tables whose crystals the variant `template` fills with other elements; without one it is left out.")
    distances: bool = Field(True, description="Also measure the first answers' distances (the eight metrics of AlphaCrystal-II). Switch it off to save time.")
    crystals_per_job: int = Field(10, ge=1, le=1000, description="Crystals predicted in one job, the models loaded once.")


class TrainingSettings(Section):
    """Training the networks; no prediction reads this."""

    data: str = Field("../shared/data", description="Folder of the structure tables. Relative to the run's folder.")
    tables: tuple[str, ...] = Field(("mp_train.parquet", "wbm_train.parquet"), description="Tables to learn from. Add your own in the same schema.")
    unseen: str = Field("more_train.parquet", description="Table with formulas of kinds that the networks were not trained on (elements, molecules), on which the ranking learns how little it knows of them.")
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
    rescore: RescoreSettings = RescoreSettings()
    ranking: RankingSettings = RankingSettings()
    report: ReportSettings = ReportSettings()
    benchmark: BenchmarkSettings = BenchmarkSettings()
    training: TrainingSettings = TrainingSettings()

    @model_validator(mode="after")
    def _features_hold_the_cells(self) -> Settings:
        """Fail before a run does."""
        if self.features.length < self.intake.max_atoms:
            raise ValueError(
                f"features.length = {self.features.length} is less than intake.max_atoms = {self.intake.max_atoms}; "
                f"set features.length to {self.intake.max_atoms} at least"
            )
        return self


SECTIONS: dict[str, type[Section]] = {
    name: info.annotation
    for name, info in Settings.model_fields.items()
    if isinstance(info.annotation, type) and issubclass(info.annotation, Section)
}
S = TypeVar("S", bound=Section)


_FAULTS = {
    "extra_forbidden": "unknown setting",
    "model_type": "this is a section and needs settings of its own, such as {key: value}",
}


def parse_settings(config: dict[str, Any]) -> Settings:
    """Validate a config; raises UserError with one line a fault, naming the key, what was expected and what was got."""
    try:
        return Settings.model_validate(config)
    except ValidationError as error:
        faults = [
            e["msg"].removeprefix("Value error, ")
            if not e["loc"]
            else f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})"
            if e["type"] not in _FAULTS
            else f"{'.'.join(map(str, e['loc']))}: {_FAULTS[e['type']]}; see config/README.md"
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
