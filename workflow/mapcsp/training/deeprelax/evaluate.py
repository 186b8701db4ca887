"""Judges one-pass relaxation on pairs: against the Dummy, in uncertainty, and against relaxation by M3GNet."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import spearmanr

from mapcsp.deeprelax.ensemble import crystal_mean, edge_mean, predict_ensemble
from mapcsp.deeprelax.model import RelaxModel
from mapcsp.deeprelax.pairs import RelaxPair
from mapcsp.deeprelax.predict import relax_in_one_pass
from mapcsp.relax.potential import Potential
from mapcsp.relax.relaxation import relax_crystals
from mapcsp.settings import RelaxSettings
from mapcsp.training.deeprelax.metrics import (
    RelaxErrors,
    dummy_answer,
    one_pass_answer,
    potential_answer,
    relax_errors,
    scaled_answer,
)
from mapcsp.training.deeprelax.train import load_batch, pair_arrays

BATCH = 64
TIMED_PASSES = 10
"""Passes that are timed and averaged: a single one takes a tenth of a second, in which other programs weigh."""


def judge(model: RelaxModel, pairs: Sequence[RelaxPair]) -> dict[str, float]:
    """Errors of the model, of the Dummy and of the Dummy at fitted volumes, gains against both, uncertainty.

    Gains are shares: 1 - error / error of the Dummy.
    """
    found = relax_in_one_pass([p.initial for p in pairs], model)
    own = relax_errors(pairs, [one_pass_answer(f) for f in found])
    dummy = relax_errors(pairs, [dummy_answer(p) for p in pairs])
    scaled = relax_errors(pairs, [scaled_answer(p, model.element_volume_ang3) for p in pairs])
    figures: dict[str, float] = {"crystals": len(pairs)}
    for name, errors in (("", own), ("_dummy", dummy), ("_scaled_dummy", scaled)):
        figures |= _named(errors, name)
    for name, base in (("", dummy), ("_on_scaled_dummy", scaled)):
        figures[f"coordinate_gain{name}"] = 1 - own.coordinate_mae_ang / base.coordinate_mae_ang
        figures[f"lattice_gain{name}"] = 1 - own.lattice_mae_ang / base.lattice_mae_ang
        figures[f"volume_gain{name}"] = 1 - own.volume_mae_ang3 / base.volume_mae_ang3
    return figures | judge_distances(model, pairs)


def _named(errors: RelaxErrors, ending: str) -> dict[str, float]:
    names = ("coordinate_mae_ang", "lattice_mae_ang", "volume_mae_ang3", "volume_mre", "match_rate")
    return {f"{name}{ending}": getattr(errors, name) for name in names}


def judge_answers(model: RelaxModel, pairs: Sequence[RelaxPair]) -> dict[str, float]:
    """Errors of a model's relaxed crystals alone, for a baseline without distances and uncertainty."""
    found = relax_in_one_pass([p.initial for p in pairs], model)
    return _named(relax_errors(pairs, [one_pass_answer(f) for f in found]), "")


def judge_distances(model: RelaxModel, pairs: Sequence[RelaxPair]) -> dict[str, float]:
    """Errors of the predicted distances, and how well the uncertainty orders crystals by them (Spearman)."""
    arrays = pair_arrays(pairs)
    bond, dummy_bond, distance, aleatoric, epistemic = [], [], [], [], []
    device = next(model.members[0].parameters()).device
    for first in range(0, len(arrays), BATCH):
        batch = load_batch(arrays[first : first + BATCH], model.element_volume_ang3, model.graph, device)
        found = predict_ensemble(model.members, batch.graph)
        graph, truth = batch.graph, batch.truth
        # The graph is of the scaled crystal; the Dummy is judged at the volume that it has.
        volumes = torch.tensor([abs(np.linalg.det(a.lattice_ang)) for a in arrays[first : first + BATCH]])
        ratio = (volumes.to(device) / torch.det(graph.lattice_ang.double()).abs()) ** (1 / 3)
        unscaled = graph.edge_ang.norm(dim=1) * ratio[graph.crystal[graph.centre]]
        edge_errors = (found.distances.edge_ang - truth.edge_ang).abs()
        pair_errors = (found.distances.pair_ang - truth.pair_ang).abs()
        bond += edge_mean(graph, edge_errors).tolist()
        dummy_bond += edge_mean(graph, (unscaled - truth.edge_ang).abs()).tolist()
        distance += crystal_mean(graph, edge_errors, pair_errors).tolist()
        aleatoric += found.aleatoric_ang2.tolist()
        epistemic += found.epistemic_ang2.tolist()
    figures = {
        "bond_mae_ang": float(np.mean(bond)),
        "bond_mae_ang_dummy": float(np.mean(dummy_bond)),
        "distance_mae_ang": float(np.mean(distance)),
    }
    parts = {"": np.add(aleatoric, epistemic), "_aleatoric": aleatoric, "_epistemic": epistemic}
    # Without uncertainty, or with a single member, there is nothing to put in order.
    orders = {k: v for k, v in parts.items() if np.ptp(v) > 0}
    for name, values in orders.items():
        figures[f"uncertainty_spearman{name}"] = float(spearmanr(values, distance)[0])
    return figures


def judge_against_potential(
    model: RelaxModel, pairs: Sequence[RelaxPair], potential: Potential, settings: RelaxSettings
) -> dict[str, float]:
    """Errors and CPU seconds a crystal of one pass and of relaxation by a potential, on the same crystals in one run."""
    crystals = [p.initial for p in pairs]
    relax_in_one_pass(crystals[:2], model)  # compiles the loops
    relax_crystals(crystals[:2], settings.model_copy(update={"max_steps": 2}), potential)
    start = time.process_time()
    for _ in range(TIMED_PASSES):
        found = relax_in_one_pass(crystals, model)
    one_pass_s = (time.process_time() - start) / TIMED_PASSES / len(pairs)
    start = time.process_time()
    relaxed = relax_crystals(crystals, settings, potential)
    relax_s = (time.process_time() - start) / len(pairs)
    answers = [potential_answer(p, r) for p, r in zip(pairs, relaxed)]
    kept = [k for k, a in enumerate(answers) if a is not None]
    judged = [pairs[k] for k in kept]
    figures: dict[str, float] = {
        "one_pass_cpu_s": one_pass_s,
        "m3gnet_cpu_s": relax_s,
        "speedup_vs_m3gnet": relax_s / one_pass_s,
        "m3gnet_steps": float(np.mean([r.n_steps for r in relaxed])),
        "m3gnet_converged": float(np.mean([r.status == "converged" for r in relaxed])),
        "m3gnet_dropped": float(len(pairs) - len(kept)),
        "m3gnet_crystals": float(len(kept)),
    }
    figures |= {
        f"m3gnet_{k}": v for k, v in _named(relax_errors(judged, [a for a in answers if a]), "").items()
    }
    own = relax_errors(judged, [one_pass_answer(found[k]) for k in kept])
    return figures | {f"same_crystals_{k}": v for k, v in _named(own, "").items()}
