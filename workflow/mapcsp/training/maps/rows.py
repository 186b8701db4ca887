"""In which order a structure table lists the atoms of one element: needed only to be judged by metrics that depend on it.

The papers compare maps row by row, and crystals of one prototype tend to list their atoms alike. A predicted map has
the rows of its label; here it is put into the order of the nearest training crystals of that label, or averaged over
their orders, never looking at the crystal it is judged on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cache

import numpy as np

from mapcsp.maps.alignment import align_atoms
from mapcsp.records import Label, PredictedMap
from mapcsp.symmetry.labels import AnonymousLabel, anonymise
from mapcsp.symmetry.memory import role_symmetries
from mapcsp.training.encoded import EncodedKnown
from mapcsp.training.maps.baselines import atom_volume
from mapcsp.training.maps.pairs import role_distances
from mapcsp.training.maps.truth import MapTruth, grouped_order


class RowOrders:
    """Training crystals by label, with their maps as listed."""

    def __init__(self, encoded: Sequence[EncodedKnown], truths: Sequence[MapTruth]) -> None:
        by_id = {t.material_id: t for t in truths}
        self._by_key: dict[str, list[tuple[EncodedKnown, MapTruth]]] = defaultdict(list)
        for row in encoded:
            truth = by_id.get(row.material_id)
            # A crystal that was encoded in a smaller cell lists other atoms.
            if truth is not None and len(truth.species) == row.n_atoms:
                self._by_key[row.anonymous_key].append((row, truth))

    def likely_orders(self, predicted: PredictedMap, elements: Sequence[str], n: int) -> list[np.ndarray]:
        """Orders of a label's atoms, grouped by `elements`, as the n nearest training crystals of the label list them.

        Each order (n_atoms,) indexes the rows of the predicted map. Without such crystals: the map's own order.
        """
        grouped = grouped_order(predicted.species, elements)
        if predicted.label_key is None:
            return [grouped]
        anonymous, own = anonymise(Label.from_key(predicted.label_key))
        alike = self._by_key.get(anonymous.key, [])
        if not alike:
            return [grouped]
        symmetric = _symmetric(anonymous.key)
        far, best = role_distances(own, [row.elements for row, _ in alike], symmetric)
        distance = predicted.distance_ang[np.ix_(grouped, grouped)]
        groups = np.array([elements.index(predicted.species[i]) for i in grouped])
        orders = []
        for index in np.argsort(far, kind="stable")[:n]:
            row, truth = alike[index]
            mapping = {old: own[k] for old, k in zip(row.elements, symmetric[best[index]])}
            species = tuple(mapping[s] for s in truth.species)
            listed = grouped_order(species, elements)
            scale = (atom_volume(predicted.species) / atom_volume(truth.species)) ** (1 / 3)
            reference = truth.distance_ang[np.ix_(listed, listed)] * scale
            orders.append(grouped[align_atoms(reference, distance, groups)])
        return orders


@cache
def _symmetric(anonymous_key: str) -> tuple[tuple[int, ...], ...]:
    return role_symmetries(AnonymousLabel.from_key(anonymous_key))
