"""Judges map networks on known crystals whose formulas they never saw; the figures go to metrics.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mapcsp.maps.alignment import align_atoms
from mapcsp.maps.inputs import build_input
from mapcsp.maps.models import MapModel
from mapcsp.maps.predict import (
    MIN_SPREAD_ANG,
    finish_map,
    predict_content_map,
    predict_label_maps,
    run_refiner,
)
from mapcsp.metrics.maps import contact_dice
from mapcsp.records import PredictedMap, SymmetryPrediction
from mapcsp.training.maps.decision import (
    chance_within,
    fit_contact_threshold,
    keep_within,
    likeliest_contacts,
    treats_alike,
)
from mapcsp.training.maps.pairs import MapTarget
from mapcsp.training.maps.rows import RowOrders
from mapcsp.training.maps.samples import SampleConfig, draw_sample, prepare
from mapcsp.training.maps.scores import MapScores, mean_scores, score_map
from mapcsp.training.maps.truth import MapTruth, contact_subset, grouped_order

N_LABELS, N_ORDERS, SHARPNESS = 5, 8, 1.5
"""Labels and row orders that the expected map of a composition is averaged over, and the power of the labels'
probabilities that weighs them: above 1 because the mean of root mean squares rewards the likeliest map. Chosen on
formulas held out of training, not on the crystals that are judged."""
N_CONTACT_ORDERS, CONTACT_CUT = 3, 0.4
"""Row orders of each label that its contacts are chosen among, and the probability from which a pair is in contact. On
558 formulas held out of training Dice overlap and perfect maps were .881 and .593 with two orders, .887 and .606 with
three, .885 and .604 with four; .877 and .582 with the mean of the labels' contacts; and with three orders .888 and .609
when cut at .4 or .45 instead of one half. Weighing orders by chemical distance or by fit changed neither by .003."""

Predictor = Callable[[MapTruth], tuple[np.ndarray, np.ndarray]]


def in_contact_test(truths: Sequence[MapTruth]) -> list[bool]:
    """Whether each crystal belongs to AlphaCrystal's contact test."""
    chosen = {id(t) for t in contact_subset(truths)}
    return [id(t) in chosen for t in truths]


def judge(truths: Sequence[MapTruth], predictor: Predictor) -> dict[str, float]:
    """Mean scores of a predictor (crystal -> distances and contacts, rows as in the crystal) over crystals."""
    return mean_scores([score_map(t, *predictor(t)) for t in truths], in_contact_test(truths))


def paper_predictor(model: MapModel, expected: bool = True) -> Predictor:
    """Predictor of a network of the papers; of contacts it returns the probabilities.

    expected: distances are the mean over groups; else the middle of the likeliest group, as the papers decode them.
    """

    def predict(truth: MapTruth) -> tuple[np.ndarray, np.ndarray]:
        found = predict_content_map(model, 1, truth.species, decode="mean" if expected else "likeliest")
        return found.distance_ang, found.contact_prob

    return predict


def judge_contacts(truths: Sequence[MapTruth], held: Sequence[MapTruth], model: MapModel) -> dict[str, float]:
    """Scores of AlphaCrystal's network, contacts cut where Dice overlap is highest on held-out crystals.

    The paper names no cut; keys with `_cut_at_half` are those of probabilities cut at one half. `contact_alike`: share of
    maps that treat the atoms of each element alike, as the elements' features do.
    """
    predict = paper_predictor(model)
    threshold = fit_contact_threshold(held, predict)
    found = {id(t): predict(t) for t in truths}
    decided = {key: (distance, prob >= threshold) for key, (distance, prob) in found.items()}
    halved = judge(truths, lambda t: found[id(t)])
    alike = [treats_alike(decided[id(t)][1], t.groups) for t in truths]
    return judge(truths, lambda t: decided[id(t)]) | {
        "contact_threshold": threshold,
        "contact_alike": float(np.mean(alike)),
        **{f"{k}_cut_at_half": v for k, v in halved.items() if "contact" in k},
    }


@dataclass(frozen=True, eq=False)
class CompositionMaps:
    """Maps of one composition without a label, by the default network.

    distance_ang: expected over labels and row orders, but below 8 Å where a pair may well be. contact: (n, n), bool, the
    best choice among labels and row orders.
    top: map of the likeliest label, grouped by element. top_contacts: its contacts in each likely order of rows.
    """

    distance_ang: np.ndarray
    contact: np.ndarray
    top: PredictedMap
    top_contacts: list[np.ndarray]


def composition_maps(
    model: MapModel, prediction: SymmetryPrediction, elements: Sequence[str], rows: RowOrders
) -> CompositionMaps:
    """Predict a composition's map from its likeliest labels."""
    labels = prediction.labels[:N_LABELS]
    maps = predict_label_maps(model, labels, 64)
    log_prob = np.array([label.log_prob for label in labels])
    weights = np.exp(SHARPNESS * (log_prob - log_prob.max()))
    weights /= weights.sum()
    distance, within = np.zeros((2, len(maps[0].species), len(maps[0].species)))
    contacts: list[np.ndarray] = []
    likely: list[float] = []
    top_contacts: list[np.ndarray] = []
    for predicted, weight, prob in zip(maps, weights, np.exp(log_prob - log_prob.max())):
        orders = [np.ix_(o, o) for o in rows.likely_orders(predicted, elements, N_ORDERS)]
        chance = chance_within(predicted.distance_ang, predicted.spread_ang)
        distance += weight * np.mean([predicted.distance_ang[o] for o in orders], axis=0)
        within += weight * np.mean([chance[o] for o in orders], axis=0)
        ordered = [predicted.contact_prob[o] >= CONTACT_CUT for o in orders]
        top_contacts = top_contacts or ordered
        chosen = ordered[:N_CONTACT_ORDERS]
        contacts += chosen
        likely += [prob / len(chosen)] * len(chosen)
    grouped = grouped_order(maps[0].species, elements)
    species = tuple(maps[0].species[i] for i in grouped)
    arrays = (
        getattr(maps[0], name)[np.ix_(grouped, grouped)]
        for name in ("distance_ang", "spread_ang", "contact_prob")
    )
    return CompositionMaps(
        keep_within(distance, within),
        likeliest_contacts(np.array(contacts), np.array(likely)),
        finish_map(maps[0].z, None, species, *arrays),
        top_contacts,
    )


def judge_default(
    model: MapModel,
    truths: Sequence[MapTruth],
    predictions: Mapping[str, SymmetryPrediction],
    rows: RowOrders,
) -> dict[str, float]:
    """Scores of the default network given only the content of the cell.

    Plain keys: the expected map, row by row as the papers compare. Keys with `_aligned`: the map of the likeliest label,
    which is what the search gets, with atoms of one element exchanged to fit best. Keys with `oracle_order`: its contacts
    in the one of its likely row orders that suits the true map best, which nobody can know.
    """
    by_row: list[MapScores] = []
    aligned: list[MapScores] = []
    best_ordered: list[float] = []
    errors = []
    for truth in truths:
        found = composition_maps(model, predictions[truth.material_id], truth.elements, rows)
        by_row.append(score_map(truth, found.distance_ang, found.contact))
        aligned.append(score_map(truth, found.top.distance_ang, found.top.contact_prob))
        best_ordered.append(max(contact_dice(c, truth.contact) for c in found.top_contacts))
        errors.append(_standard_errors(truth, found.top))
    bonded = in_contact_test(truths)
    figures = {k: v for k, v in mean_scores(by_row, bonded).items() if "aligned" not in k}
    figures |= {k: v for k, v in mean_scores(aligned, bonded).items() if "aligned" in k}
    figures["oracle_order_contact_accuracy"] = float(np.mean(np.array(best_ordered)[bonded]))
    return figures | _coverage(errors)


def _coverage(errors: Sequence[np.ndarray]) -> dict[str, float]:
    """Shares of pairs whose error is below one spread and below two."""
    z = np.concatenate(errors)
    return {"spread_coverage_1": float((z < 1).mean()), "spread_coverage_2": float((z < 2).mean())}


def _standard_errors(truth: MapTruth, predicted: PredictedMap) -> np.ndarray:
    """Errors of aligned distances over their predicted spreads, above the diagonal."""
    order = align_atoms(truth.distance_ang, predicted.distance_ang, truth.groups)
    moved = np.ix_(order, order)
    upper = np.triu_indices(len(truth.species), 1)
    error = np.abs(predicted.distance_ang[moved] - truth.distance_ang)
    return (error / np.maximum(predicted.spread_ang[moved], 1e-9))[upper]


def judge_label_given(
    model: MapModel, targets: Sequence[MapTarget], truths: Mapping[str, MapTruth]
) -> dict[str, float]:
    """Scores of the default network given the true label and cell; the geometry is the nearest training crystal's."""
    scores, chosen, errors = [], [], []
    for target in targets:
        truth, geometry = truths.get(target.material_id), target.geometry()
        if truth is None or len(truth.species) != len(geometry.species):
            continue
        seed = target.seeds[0] if target.seeds else None
        given = (None, None) if seed is None else (seed.cell, seed.free_coords)
        arrays = run_refiner(model, [build_input(geometry, target.cell, 0.0, 0.0, *given)])
        order = grouped_order(geometry.species, truth.elements)
        found = finish_map(target.z, None, truth.species, *(a[0][np.ix_(order, order)] for a in arrays))
        scores.append(score_map(truth, found.distance_ang, found.contact_prob))
        errors.append(_standard_errors(truth, found))
        chosen.append(truth)
    figures = {k: v for k, v in mean_scores(scores, in_contact_test(chosen)).items() if "aligned" in k}
    figures |= _coverage(errors) | {"n": float(len(scores))}
    return {f"{k}_label_given": v for k, v in figures.items()}


def fit_spread_scale(model: MapModel, held: Sequence[MapTarget]) -> float:
    """The factor on spreads with which 68.3 % of the errors on held-out crystals lie within one spread.

    Each crystal gets one of its nearest seeds and a cell with errors of a known spread, as in training.
    """
    rng = np.random.default_rng(0)
    samples = SampleConfig(p_no_seed=0, p_near=1, p_given=0)
    ratios = []
    for target in held:
        prepared = prepare(target)
        upper = np.triu_indices(len(prepared.distance_ang), 1)
        given, truth = draw_sample(prepared, samples, rng)
        distance, spread, _ = run_refiner(model, [given])
        ratios.append(np.abs(distance[0] - truth)[upper] / np.maximum(spread[0][upper], MIN_SPREAD_ANG))
    return float(np.quantile(np.concatenate(ratios), 0.683)) * model.spread_scale
