"""How fast the stages are on this machine: `make bench` writes the figures to results/bench.json."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path

import torch

from mapcsp.ga.bench import bench_search
from mapcsp.maps.benchmark import benchmark_maps
from mapcsp.planning.benchmark import benchmark_dag
from mapcsp.records import FormulaEntry
from mapcsp.relax.benchmark import benchmark_relax
from mapcsp.resources import resource_path
from mapcsp.settings import SymmetrySettings
from mapcsp.store import write_json
from mapcsp.symmetry.model import load_model
from mapcsp.symmetry.predict import predict_symmetry

# Usual stoichiometries; the same two elements in each, since a prediction's time depends on the amounts alone.
_AMOUNTS = ((1, 1), (1, 2), (1, 3), (2, 3), (1, 4), (3, 4))
_PAIRS = (("Na", "Cl"), ("Ca", "F"), ("Al", "O"), ("Zn", "S"), ("Mg", "Ge"), ("Fe", "Te"))


def symmetry_formulas_per_s() -> float:
    """Predictions of binary formulas (z unknown, 40 labels each) a second of one core's time, the model at hand."""
    torch.set_num_threads(1)
    model, settings = load_model(resource_path("models/symmetry")), SymmetrySettings()
    entries = [
        FormulaEntry("x", "x", "x", None, tuple(zip(pair, amounts)), (1, 2, 4), False)
        for amounts in _AMOUNTS
        for pair in _PAIRS
    ]
    for entry in entries[:: len(_PAIRS)]:
        predict_symmetry(entry, settings, model)
    start = time.process_time()
    for entry in entries:
        predict_symmetry(entry, settings, model)
    return len(entries) / (time.process_time() - start)


def run_bench(output: Path) -> None:
    """Measure all stages, one after another, and write one flat file with the core count and the load at the time."""
    search, maps, relax = bench_search(), benchmark_maps(), benchmark_relax()
    figures = {
        "ga_evaluations_per_s": round(search.evaluations_per_s),
        "ga_100k_s": round(search.search_100k_s, 2),
        "ga_ratio_to_plain_deap": round(search.evaluations_per_s / search.plain_deap_evaluations_per_s, 1),
        "dag_10k_jobs_s": round(benchmark_dag().wall_s, 1),
        "symmetry_formulas_per_s": round(symmetry_formulas_per_s(), 1),
        **{k: v for k, v in asdict(maps).items() if k not in ("load", "cores")},
        **{k: v for k, v in asdict(relax).items() if k not in ("load", "cores")},
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
    }
    write_json(output, figures)
