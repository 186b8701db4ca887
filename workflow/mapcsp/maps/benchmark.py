"""How many maps the networks predict a second on one core."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np
import torch

from mapcsp.elements import SUPPORTED_ELEMENTS
from mapcsp.maps.models import load_model
from mapcsp.maps.predict import predict_content_map, predict_label_maps
from mapcsp.records import Label, LabelPrediction, SeedGeometry
from mapcsp.symmetry.cells import free_cell_indices
from mapcsp.symmetry.geometry import label_geometry

# Space groups and Wyckoff letters of three roles: twelve atoms each, the most of the papers' networks.
_TWELVE_ATOMS = ((62, "ccc"), (14, "eee"), (194, "bfh"), (136, "efg"), (167, "ace"), (15, "fff"))


@dataclass(frozen=True)
class MapsBenchmark:
    """Formulas of 12 atoms a second of one core's time: one label a formula, and 40 labels a formula as settings default.

    load: of the machine, over the last minute.
    """

    maps_formulas_per_s: float
    maps_formulas_per_s_40_labels: float
    n_formulas: int
    load: float


def benchmark_maps(model_name: str = "maps", n_formulas: int = 200, seed: int = 1) -> MapsBenchmark:
    """Time a network of the registry on made-up formulas of 12 atoms, from labels to finished maps."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model = load_model(model_name)
        rng = np.random.default_rng(seed)
        rates = []
        for n_labels, count in ((1, n_formulas), (40, max(n_formulas // 20, 1))):
            lists = [[_label(rng) for _ in range(n_labels)] for _ in range(count + 2)]
            started = 0.0
            for index, labels in enumerate(lists):
                if index == 2:  # the first two compile
                    started = time.process_time()
                if model.kind == "refiner":
                    predict_label_maps(model, labels, 64)
                else:
                    predict_content_map(model, labels[0].z, label_geometry(labels[0].label).species)
            rates.append(count / (time.process_time() - started))
    finally:
        torch.set_num_threads(threads)
    one, forty = (round(rate, 1) for rate in rates)
    return MapsBenchmark(one, forty, n_formulas, os.getloadavg()[0])


def _label(rng: np.random.Generator) -> LabelPrediction:
    number, letters = _TWELVE_ATOMS[rng.integers(len(_TWELVE_ATOMS))]
    elements = rng.choice(sorted(SUPPORTED_ELEMENTS), len(letters), replace=False)
    label = Label(number, tuple(sorted((str(e), w) for e, w in zip(elements, letters))))
    cell = np.array([6.0, 6.0, 6.0, 90.0, 120.0 if 4 in free_cell_indices(number) else 90.0, 90.0])
    if 143 <= number <= 194:
        cell[5] = 120.0
    free = rng.random(label_geometry(label).n_free)
    seed = SeedGeometry(cell, free, np.zeros_like(free), 1.0, 1)
    return LabelPrediction(label, 1, -1.0, "trained", cell, 0.05, 0.03, (seed,))
