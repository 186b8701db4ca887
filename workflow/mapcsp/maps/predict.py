"""Turns network outputs into maps: one for each predicted label of a formula."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from mapcsp.elements import cell_species, element_features
from mapcsp.maps.inputs import LabelInput, build_input, stack_inputs
from mapcsp.maps.labels import BOND_TOLERANCE_ANG, DistanceGroups, bond_lengths_ang, can_bond
from mapcsp.maps.models import MapModel
from mapcsp.records import LabelPrediction, PredictedMap
from mapcsp.symmetry.geometry import label_geometry

Amounts = tuple[tuple[str, int], ...]

MIN_DISTANCE_ANG, MIN_SPREAD_ANG = 0.3, 0.02


def predict_label_maps(
    model: MapModel, labels: Sequence[LabelPrediction], batch_size: int
) -> list[PredictedMap]:
    """Predict the map of each label with the default network, rows in the order of its LabelGeometry.

    A batch holds labels of one formula only: rounding then does not depend on what else is in the list.
    """
    inputs = [label_input(label) for label in labels]
    found: dict[int, PredictedMap] = {}
    by_size: dict[int, list[int]] = defaultdict(list)
    for index, label_in in enumerate(inputs):
        by_size[label_in.n_atoms].append(index)
    for members in by_size.values():
        for first in range(0, len(members), batch_size):
            chosen = members[first : first + batch_size]
            arrays = run_refiner(model, [inputs[i] for i in chosen])
            for row, index in enumerate(chosen):
                label = labels[index]
                species = label_geometry(label.label).species
                found[index] = finish_map(label.z, label.label.key, species, *(a[row] for a in arrays))
    return [found[i] for i in range(len(labels))]


def predict_maps(
    model: MapModel, labels: Sequence[LabelPrediction], amounts: Amounts, batch_size: int
) -> list[PredictedMap]:
    """Predict the map of each label with whatever network: one a label, or one a z for the papers', which know no labels.

    amounts: (element, atoms in one formula unit).
    """
    if model.kind == "refiner":
        return predict_label_maps(model, labels, batch_size)
    zs = sorted({label.z for label in labels})
    of_z = {z: predict_content_map(model, z, cell_species(amounts, z)) for z in zs}
    return [of_z[label.z] for label in labels]


def label_input(prediction: LabelPrediction) -> LabelInput:
    """Input of the default network for a predicted label: its cell, and its most likely known geometry if it has one."""
    seed = prediction.seeds[0] if prediction.seeds else None
    return build_input(
        label_geometry(prediction.label),
        prediction.cell,
        prediction.log_volume_spread,
        prediction.shape_spread,
        None if seed is None else seed.cell,
        None if seed is None else seed.free_coords,
    )


def run_refiner(model: MapModel, inputs: Sequence[LabelInput]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run the default network on inputs of equal size: distances, spreads (both Å) and contact probabilities, (b, n, n)."""
    with torch.inference_mode():
        out = model.network(stack_inputs(list(inputs)))
        # The standard deviation of a Laplace distribution is √2 times its scale.
        spread = out.log_scale.exp() * (2**0.5 * model.spread_scale)
        return tuple(t.double().numpy() for t in (out.distance_ang, spread, out.contact_logit.sigmoid()))  # type: ignore


def finish_map(
    z: int,
    label_key: str | None,
    species: tuple[str, ...],
    distance_ang: np.ndarray,
    spread_ang: np.ndarray,
    contact_prob: np.ndarray,
) -> PredictedMap:
    """Make a map exact: symmetric to the last bit, zero diagonal, positive distances and spreads, no bonds of two metals."""
    other = ~np.eye(len(species), dtype=bool)

    def symmetric(values: np.ndarray) -> np.ndarray:
        # Single precision, as the file keeps it: a map is the same before and after it was written.
        return ((values + values.T) / 2).astype(np.float32).astype(float) * other

    return PredictedMap(
        z,
        label_key,
        species,
        symmetric(np.maximum(distance_ang, MIN_DISTANCE_ANG)),
        symmetric(np.maximum(spread_ang, MIN_SPREAD_ANG)),
        symmetric(np.clip(contact_prob, 0, 1)) * can_bond(species),
    )


def predict_content_map(
    model: MapModel,
    z: int,
    species: tuple[str, ...],
    features: np.ndarray | None = None,
    decode: Literal["mean", "likeliest"] = "mean",
) -> PredictedMap:
    """Predict the map of one cell content with a network of the papers; rows in the given order, no label.

    species: (n,), grouped by element, as `elements.cell_species` gives them. features: (n, 11), raw, if already at hand.
    decode: distances from groups: their mean, or the middle of the likeliest group as in the papers.
    """
    values = element_features(species) if features is None else features
    with torch.inference_mode():
        logits = model.network(torch.from_numpy(np.asarray(values, dtype=np.float32))[None])[0].double()
        if model.kind == "contact":
            return finish_map(z, None, species, *_from_contacts(species, logits[..., 0].sigmoid().numpy()))
        assert model.groups is not None
        prob = logits.softmax(-1).numpy()
        mean, spread, contact = _from_groups(species, prob, model.groups)
        distance = mean if decode == "mean" else model.groups.centres_ang[prob.argmax(-1)]
        return finish_map(z, None, species, distance, spread, contact)


def _from_contacts(
    species: tuple[str, ...], contact_prob: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances that contacts alone imply: a bond is as long as its radii say, anything else is longer, and wide open."""
    bond = bond_lengths_ang(species)
    # ASSUME: unbonded atoms are 1.6 bond lengths apart, give or take 1 Å; the search of contact maps ignores both.
    distance = contact_prob * bond + (1 - contact_prob) * 1.6 * bond
    return distance, 0.2 * contact_prob + 1.0 * (1 - contact_prob), contact_prob


def _from_groups(
    species: tuple[str, ...], prob: np.ndarray, groups: DistanceGroups
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and standard deviation of a distribution over groups, uniform within each, and its share within bond length."""
    centres = groups.centres_ang
    mean = prob @ centres
    variance = prob @ centres**2 - mean**2 + groups.width_ang**2 / 12
    bond = bond_lengths_ang(species)[..., None]
    low, high = centres - groups.width_ang / 2, centres + groups.width_ang / 2
    overlap = np.minimum(high, bond + BOND_TOLERANCE_ANG) - np.maximum(low, bond - BOND_TOLERANCE_ANG)
    contact = (prob * np.clip(overlap, 0, None) / groups.width_ang).sum(-1)
    return mean, np.sqrt(np.maximum(variance, 0)), contact
