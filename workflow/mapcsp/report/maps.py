"""The predicted maps of a structure's label beside the distances that it has after relaxation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from mapcsp.crystals import distance_matrix
from mapcsp.records import Crystal, FormulaMaps, PredictedMap, RankedStructure
from mapcsp.report.plots import heat_map_svg


@dataclass(frozen=True)
class MapView:
    """Heat maps: predicted distances and contact probabilities, and the relaxed structure's distances."""

    predicted: Markup
    found: Markup
    contacts: Markup
    rmse_ang: float | None


def map_view(ranked: RankedStructure, maps: FormulaMaps) -> MapView | None:
    """Heat maps of the label of a ranked structure; None if there is no map for it or its atoms differ.

    Rows are in the order of the reconstructed candidate, which is that of the map.
    """
    candidate, crystal = ranked.relaxed.candidate, ranked.relaxed.crystal
    predicted = _map_of(maps, candidate.z, candidate.label.key)
    if predicted is None or crystal is None or crystal.species != predicted.species:
        return None
    found = distance_matrix(crystal)
    high = float(max(found.max(), predicted.distance_ang.max()))
    title = f"{ranked.formula}, rank {ranked.rank}: "
    species = predicted.species
    return MapView(
        predicted=heat_map_svg(predicted.distance_ang, species, high, title + "predicted distances", "Å"),
        found=heat_map_svg(found, species, high, title + "distances after relaxation", "Å"),
        contacts=heat_map_svg(predicted.contact_prob, species, 1.0, title + "predicted contacts", ""),
        rmse_ang=_rmse(found, predicted.distance_ang, crystal),
    )


def _map_of(maps: FormulaMaps, z: int, label_key: str) -> PredictedMap | None:
    for wanted in (label_key, None):
        for predicted in maps.maps:
            if predicted.z == z and predicted.label_key == wanted:
                return predicted
    return None


def _rmse(found: np.ndarray, predicted: np.ndarray, crystal: Crystal) -> float | None:
    if crystal.n_atoms < 2:
        return None
    above = np.triu_indices(crystal.n_atoms, 1)
    return float(np.sqrt(np.mean((found[above] - predicted[above]) ** 2)))
