"""How good the reconstruction is, before any relaxation: the figures of resources/benchmarks/reconstruction.json."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from tqdm import tqdm

from mapcsp.benchmark.pipeline import Models, load_models
from mapcsp.elements import SUPPORTED_ELEMENTS
from mapcsp.maps.predict import predict_maps
from mapcsp.metrics.match import match_rate_at
from mapcsp.provenance import code_id, current_commit, file_sha256, imported_modules, value_hash
from mapcsp.records import Label, LabelPrediction, PredictedMap, SymmetryPrediction
from mapcsp.registry import registered_model
from mapcsp.settings import ReconstructSettings, Settings
from mapcsp.store import read_records, write_json, write_records
from mapcsp.symmetry.geometry import label_geometry
from mapcsp.symmetry.labels import canonical_label
from mapcsp.training.encoded import encoded_tables
from mapcsp.training.geometries import formula_hash
from mapcsp.training.ranker.pools import choose_targets
from mapcsp.training.reconstruction.trials import (
    Known,
    Source,
    Target,
    Trial,
    predict_from_formula,
    rebuild,
    refine,
)
from mapcsp.training.symmetry.evaluate import entry_of
from mapcsp.training.tables import read_structures

MAX_ATOMS, TRUE_MAP_MAX_ATOMS = 20, 12
RANKS = (1, 5, 20)
FAST_SOURCES: tuple[Source, ...] = ("default", "prototypes")
SLOW_SOURCES: tuple[Source, ...] = ("search_without_seeds", "random_coordinates", "cmcrystal", "dmcrystal")
# Code and settings that decide a row, and with the networks' weights whether a finished one still holds.
CODE = ("ga/pool", "ga/reconstruct", "maps/predict", "symmetry/predict")
SECTIONS_USED = ("symmetry", "maps", "reconstruct", "pool")
# Weights of the terms where the ablation switches them on.
TERM_WEIGHTS = {
    "weight_map": 1.0,
    "weight_contact": 1.0,
    "weight_bond": 0.5,
    "weight_short": 5.0,
    "weight_prior": 0.01,
}


def ablations(default: ReconstructSettings) -> dict[str, ReconstructSettings]:
    """The searches of the ablation by name: default, all terms, each off, each alone."""
    rows = {"default": default, "all terms": default.model_copy(update=TERM_WEIGHTS)}
    for name in TERM_WEIGHTS:
        rows[f"without {name}"] = default.model_copy(update={**TERM_WEIGHTS, name: 0.0})
    for name, weight in TERM_WEIGHTS.items():
        rows[f"{name} alone"] = default.model_copy(update={**dict.fromkeys(TERM_WEIGHTS, 0.0), name: weight})
    return rows


def summarise(trials: Sequence[Trial]) -> dict[str, Any]:
    """Match rates with 95 % Wilson intervals, RMS of the first matches, volume error and cost."""
    if not trials:
        return {"crystals": 0}
    matches = [[] if t.rank is None else [*([None] * t.rank), t.rms] for t in trials]
    figures: dict[str, Any] = {"crystals": len(trials)}
    for k in RANKS:
        rate = match_rate_at(k, matches)
        figures[f"match_rate_at_{k}"] = round(rate.rate, 4)
        figures[f"match_rate_at_{k}_interval"] = [round(rate.low, 4), round(rate.high, 4)]
    rms = [t.rms for t in trials if t.rms is not None]
    errors = [abs(t.volume_error) for t in trials if t.volume_error is not None]
    figures["rms_median"] = round(float(np.median(rms)), 4) if rms else None
    figures["volume_mre"] = round(float(np.mean(errors)), 4) if errors else None
    figures["answers_mean"] = round(float(np.mean([t.n_answers for t in trials])), 1)
    figures["evaluations_mean"] = round(float(np.mean([t.evaluations for t in trials])))
    figures["search_core_s_mean"] = round(float(np.mean([t.search_s for t in trials])), 3)
    return figures


class Evaluation:
    """Trials of one sample, kept in a working folder row by row, so that a run that was stopped goes on."""

    def __init__(self, targets: Sequence[Target], settings: Settings, hidden: bool, work_dir: Path) -> None:
        """hidden: leave each formula's own training crystals out of the symmetry model's memory."""
        self.targets, self.settings, self.hidden = targets, settings, hidden
        used = (settings.symmetry.model, "symmetry.model"), (settings.maps.model, "maps.model")
        weights = [file for name, stage in used for file in registered_model(name, stage).files]
        key = [
            code_id(*imported_modules(*CODE), "training/reconstruction/trials"),
            [file_sha256(f) for f in weights],
            {name: settings.model_dump(mode="json")[name] for name in SECTIONS_USED},
            hidden,
            [t.known.material_id for t in targets],
        ]
        self.folder = work_dir / f"reconstruction-{value_hash(key)[:12]}"
        self._models: Models | None = None
        self._predicted: dict[str, tuple[SymmetryPrediction, tuple[PredictedMap, ...]]] = {}

    def row(self, name: str, count: int, trial: Callable[[Target], Trial | None]) -> list[Trial]:
        """Trials of one row on the first `count` targets; one that is None is left out."""
        path = self.folder / f"{name.replace(' ', '_')}-{count}.jsonl"
        if not path.exists():
            found = [trial(t) for t in tqdm(self.targets[:count], desc=name, mininterval=10)]
            write_records(path, Trial, [t for t in found if t is not None])
        return read_records(path, Trial)

    def predicted(self, target: Target) -> tuple[SymmetryPrediction, tuple[PredictedMap, ...]]:
        """Labels and maps of a target's formula with its z, predicted once."""
        found = self._predicted.get(target.known.material_id)
        if found is None:
            self._models = self._models or load_models(self.settings)
            row = target.encoded
            mask = formula_hash(row.formula) if self.hidden else None
            entry, batch = entry_of(row, (row.z,)), self.settings.maps.batch_size
            prediction = self._models.symmetry(entry, mask)
            maps = predict_maps(self._models.maps, prediction.labels, entry.amounts, batch)
            found = self._predicted[target.known.material_id] = prediction, tuple(maps)
        return found

    def right_label(self, target: Target) -> tuple[LabelPrediction, PredictedMap] | None:
        """The prediction and map of the true label; None if it is not listed or leaves no coordinate free."""
        truth = canonical_label(Label.from_key(target.encoded.label_key))
        if label_geometry(truth).n_free == 0:
            return None
        return next((pair for pair in zip(*self._labels_and_maps(target)) if pair[0].label == truth), None)

    def _labels_and_maps(
        self, target: Target
    ) -> tuple[tuple[LabelPrediction, ...], tuple[PredictedMap, ...]]:
        prediction, maps = self.predicted(target)
        return prediction.labels, maps

    def rebuilt(self, known: Known) -> Callable[[Target], Trial]:
        """Trial from the true map."""
        return lambda t: rebuild(t, known, self.settings)

    def from_formula(self, source: Source) -> Callable[[Target], Trial]:
        """Trial of one source of coordinates."""
        return lambda t: predict_from_formula(t, source, *self.predicted(t), self.settings)

    def refined(
        self, search: ReconstructSettings, origin: Any = "search"
    ) -> Callable[[Target], Trial | None]:
        """Trial with the right label given."""

        def trial(target: Target) -> Trial | None:
            given = self.right_label(target)
            return None if given is None else refine(target, *given, search, self.settings.seed, origin)

        return trial


def evaluate_reconstruction(
    evaluation: Evaluation, true_maps: Evaluation, count: int, slow_count: int
) -> dict[str, Any]:
    """All rows: true maps, sources of coordinates from the formula, ablation of the fitness terms.

    true_maps: of the crystals to rebuild. count: crystals of the sources `default` and `prototypes`, half as many with the
    right label; slow_count: the first of the same crystals, for all sources.
    """
    settings = evaluation.settings
    half, default = (count + 1) // 2, settings.reconstruct
    rebuilt = {k: true_maps.row(f"true {k}", half, true_maps.rebuilt(k)) for k in get_args(Known)}
    fast = {s: evaluation.row(s, count, evaluation.from_formula(s)) for s in FAST_SOURCES}
    slow = {s: evaluation.row(s, slow_count, evaluation.from_formula(s)) for s in SLOW_SOURCES}
    prototype = evaluation.refined(default.model_copy(update={"max_evaluations": 0}), "prototype")
    with_label = {"best prototype, no search": evaluation.row("prototype", half, prototype)}
    for name, search in ablations(default).items():
        with_label[name] = evaluation.row(f"terms {name}", half, evaluation.refined(search))
    return {
        "from_true": {name: summarise(trials) for name, trials in rebuilt.items()},
        "from_formula": {name: summarise(trials) for name, trials in fast.items()},
        "from_formula_first_crystals": {
            name: summarise(trials[:slow_count]) for name, trials in {**fast, **slow}.items()
        },
        "right_label_given": {name: summarise(trials) for name, trials in with_label.items()},
    }


def run_evaluate_reconstruction(
    table: Path, work_dir: Path, output: Path, count: int, slow_count: int, seed: int, held_out: bool
) -> None:
    """Evaluate on a structure table and write the figures with command, commit and settings to `output`.

    held_out: take only formulas of a training table that no network was trained on, their own crystals hidden: the sample on
    which settings are chosen. Otherwise all crystals of the table count, none of which may have been trained on.
    """
    # One thread: sums in another order would change last digits.
    torch.set_num_threads(1)
    settings = Settings()
    targets = _draw_targets(table, work_dir, count, seed, held_out)
    small = [t for t in targets if t.encoded.n_atoms <= TRUE_MAP_MAX_ATOMS][:count]
    figures = evaluate_reconstruction(
        Evaluation(targets[:count], settings, held_out, work_dir),
        Evaluation(small, settings, held_out, work_dir),
        count,
        slow_count,
    )
    figures |= {
        "command": f"mapcsp evaluate-reconstruction --count {count} --slow-count {slow_count} --seed {seed}"
        f"{' --held-out' if held_out else ''} --work WORK --output OUT {table.name}",
        "commit": current_commit(),
        "table": {"name": table.name, "sha256": file_sha256(table)},
        "known": "formula and z; with the right label given: that label beside its predicted cell and map",
        "max_atoms": MAX_ATOMS,
        "true_map_max_atoms": TRUE_MAP_MAX_ATOMS,
        "matcher": "stol .5, ltol .3, angle_tol 10; RMS in units of (V/n)^(1/3)",
        "settings": {
            name: section
            for name, section in settings.model_dump(mode="json").items()
            if name in SECTIONS_USED
        },
    }
    write_json(output, figures)


def _draw_targets(table: Path, work_dir: Path, count: int, seed: int, held_out: bool) -> list[Target]:
    """More crystals than `count`, since not all are small enough for true maps."""
    if held_out:
        chosen = choose_targets([table], work_dir, MAX_ATOMS, 10 * count, seed)
        return [Target(t.known, t.encoded) for t in chosen]
    by_id = {row.material_id: row for row in encoded_tables([table], work_dir)}
    eligible = [
        Target(row, by_id[row.material_id])
        for row in read_structures([table], MAX_ATOMS)
        if row.material_id in by_id and set(row.crystal.species) <= SUPPORTED_ELEMENTS
    ]
    return [eligible[i] for i in np.random.default_rng(seed).permutation(len(eligible))]
