"""How fast the stages are on this machine: `make bench` writes the figures to results/bench.json."""

from __future__ import annotations

import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from mapcsp.elements import SYMBOLS
from mapcsp.ga.bench import bench_search
from mapcsp.maps.benchmark import benchmark_maps
from mapcsp.planning.benchmark import benchmark_dag
from mapcsp.records import FormulaEntry
from mapcsp.registry import registered_model
from mapcsp.relax.benchmark import benchmark_relax
from mapcsp.settings import SymmetrySettings
from mapcsp.store import write_json
from mapcsp.symmetry.model import SymmetryModel, load_model
from mapcsp.symmetry.predict import predict_symmetry

# Formulas of the symmetry benchmark, and the most atoms in their primitive cells: intake's default.
_FORMULAS, _MAX_ATOMS = 1000, 12


@dataclass(frozen=True)
class SymmetrySpeed:
    """Formulas a second of one core's time: `first` over a mixed list with nothing worked out yet, `again` over it again."""

    first_formulas_per_s: float
    again_formulas_per_s: float


def mixed_formulas(model: SymmetryModel, count: int, seed: int = 1) -> list[FormulaEntry]:
    """Formulas drawn from the compositions that the model remembers, each once; usual stoichiometries are usual here."""
    memory = model.memory
    found: dict[str, FormulaEntry] = {}
    for example in np.random.default_rng(seed).permutation(len(memory.example_label)).tolist():
        label = memory.labels[memory.example_label[example]]
        z = int(np.gcd.reduce(label.counts))
        symbols = [SYMBOLS[n - 1] for n in memory.example_elements[example][: len(label.roles)].tolist()]
        amounts = tuple(sorted((s, c // z) for s, c in zip(symbols, label.counts)))
        most = _MAX_ATOMS // sum(a for _, a in amounts)
        if most and len(found) < count:
            name = "".join(f"{s}{a}" for s, a in amounts)
            found[name] = FormulaEntry(name, name, name, None, amounts, tuple(range(1, most + 1)), False)
    return list(found.values())


def symmetry_speed() -> SymmetrySpeed:
    """Time predictions of _FORMULAS mixed formulas (z unknown, default settings) with the default model."""
    torch.set_num_threads(1)
    model, settings = load_model(registered_model("symmetry", "symmetry.model").folder), SymmetrySettings()
    entries = mixed_formulas(model, _FORMULAS)
    times = []
    for _ in range(2):
        start = time.process_time()
        for entry in entries:
            predict_symmetry(entry, settings, model)
        times.append(time.process_time() - start)
    return SymmetrySpeed(*(len(entries) / t for t in times))


def run_bench(output: Path) -> None:
    """Measure all stages, one after another, and write one flat file with the core count and the load at the time."""
    # Symmetry first: the others would fill caches that its first figure must find empty.
    symmetry = symmetry_speed()
    search, maps, relax = bench_search(), benchmark_maps(), benchmark_relax()
    figures = {
        "ga_evaluations_per_s": round(search.evaluations_per_s),
        "ga_100k_s": round(search.search_100k_s, 2),
        "ga_ratio_to_plain_deap": round(search.evaluations_per_s / search.plain_deap_evaluations_per_s, 1),
        "dag_10k_jobs_s": round(benchmark_dag().wall_s, 1),
        "symmetry_formulas_per_s": round(symmetry.again_formulas_per_s, 1),
        "symmetry_formulas_per_s_first_pass": round(symmetry.first_formulas_per_s, 1),
        **{k: v for k, v in asdict(maps).items() if k not in ("load", "cores")},
        **{k: v for k, v in asdict(relax).items() if k not in ("load", "cores")},
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }
    write_json(output, figures)
