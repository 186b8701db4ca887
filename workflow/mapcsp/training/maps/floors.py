"""What a row-by-row comparison of maps costs by itself: baselines without a network, and the true map in another order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mapcsp.maps.labels import contact_map
from mapcsp.maps.predict import finish_map
from mapcsp.training.maps.baselines import TemplateMaps
from mapcsp.training.maps.decision import best_alike
from mapcsp.training.maps.evaluate import in_contact_test, judge
from mapcsp.training.maps.pairs import MapTarget
from mapcsp.training.maps.rows import RowOrders
from mapcsp.training.maps.samples import prepare
from mapcsp.training.maps.scores import mean_scores, score_map
from mapcsp.training.maps.truth import MapTruth


def judge_baselines(truths: Sequence[MapTruth], known: Sequence[MapTruth]) -> dict[str, float]:
    """Scores of the mean map and of the nearest training crystal, and of two maps that know the crystal but not its rows.

    `true_map_shuffled`: the true map, the atoms of each element in random order. `true_map_alike`: of the contact maps that
    treat the atoms of an element alike the one nearest to the truth, which no predictor blind to their order can surpass.
    """
    templates = TemplateMaps(known)
    rng = np.random.default_rng(0)

    def shuffled(truth: MapTruth) -> tuple[np.ndarray, np.ndarray]:
        order = np.lexsort((rng.random(len(truth.species)), truth.groups))
        return truth.distance_ang[np.ix_(order, order)], truth.contact[np.ix_(order, order)]

    def alike(truth: MapTruth) -> tuple[np.ndarray, np.ndarray]:
        return truth.distance_ang, best_alike(truth.contact, truth.groups)

    figures: dict[str, float] = {}
    for name, predictor in (
        ("mean_map", templates.mean_map),
        ("nearest", templates.nearest),
        ("true_map_shuffled", shuffled),
    ):
        figures |= {f"baseline_{name}_{k}": v for k, v in judge(truths, predictor).items()}
    by_element = {
        k: v for k, v in judge(truths, alike).items() if k in ("contact_accuracy", "contact_perfect")
    }
    return figures | {f"baseline_true_map_alike_{k}": v for k, v in by_element.items()}


def judge_likely_rows(
    targets: Sequence[MapTarget], truths: Mapping[str, MapTruth], rows: RowOrders
) -> dict[str, float]:
    """Scores of the true maps with their rows in the likeliest order, that of the nearest training crystal of their label.

    What is missing to 1 is the order in which a table lists the atoms of an element, which no geometry determines.
    """
    scores, chosen = [], []
    for target in targets:
        truth, geometry = truths.get(target.material_id), target.geometry()
        if truth is None or len(truth.species) != len(geometry.species):
            continue
        distance = prepare(target).distance_ang
        contact = contact_map(geometry.species, distance)
        exact = finish_map(
            target.z,
            target.label_key,
            geometry.species,
            distance,
            np.zeros_like(distance),
            contact.astype(float),
        )
        order = rows.likely_orders(exact, truth.elements, 1)[0]
        moved = np.ix_(order, order)
        scores.append(score_map(truth, exact.distance_ang[moved], exact.contact_prob[moved]))
        chosen.append(truth)
    figures = mean_scores(scores, in_contact_test(chosen))
    return {f"baseline_true_map_likely_rows_{k}": v for k, v in figures.items()}
