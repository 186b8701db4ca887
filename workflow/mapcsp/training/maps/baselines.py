"""What a map costs without a network: the mean map of crystals with the same atom counts, and the nearest
training crystal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from mapcsp.elements import covalent_radius_ang
from mapcsp.maps.labels import contact_map
from mapcsp.training.maps.pairs import element_position
from mapcsp.training.maps.truth import MapTruth


class TemplateMaps:
    """Known maps, looked up by the atom counts of the elements in the order of the formula."""

    def __init__(self, known: Sequence[MapTruth]) -> None:
        self._by_counts: dict[tuple[int, ...], list[MapTruth]] = defaultdict(list)
        for truth in known:
            self._by_counts[truth.counts].append(truth)
        distances = np.concatenate([t.distance_ang[np.triu_indices(len(t.species), 1)] for t in known])
        contacts = np.concatenate([t.contact[np.triu_indices(len(t.species), 1)] for t in known])
        self._distance_ang, self._contact = float(distances.mean()), float(contacts.mean())

    def mean_map(self, target: MapTruth) -> tuple[np.ndarray, np.ndarray]:
        """Mean distances (n, n), Å, and shares of contacts (n, n) over crystals with the same counts.

        Counts never seen give the mean over all pairs.
        """
        alike = self._by_counts.get(target.counts, [])
        n = len(target.species)
        if not alike:
            other = 1.0 - np.eye(n)
            return self._distance_ang * other, self._contact * other
        return np.mean([t.distance_ang for t in alike], axis=0), np.mean([t.contact for t in alike], axis=0)

    def nearest(self, target: MapTruth) -> tuple[np.ndarray, np.ndarray]:
        """Map of the chemically nearest crystal with the same counts, elements replaced, scaled by the sum of radii cubed.

        Its contacts are those of its scaled distances with the target's radii. Without such a crystal: the mean map.
        """
        alike = self._by_counts.get(target.counts, [])
        if not alike:
            return self.mean_map(target)
        own = np.array([element_position(e) for e in target.elements])
        others = np.array([[element_position(e) for e in t.elements] for t in alike])
        far = np.sqrt(((others - own) ** 2).sum(-1)).sum(-1)
        best = alike[int(far.argmin())]
        distance = best.distance_ang * (atom_volume(target.species) / atom_volume(best.species)) ** (1 / 3)
        return distance, contact_map(target.species, distance)


def atom_volume(species: Sequence[str]) -> float:
    """Sum of covalent radii cubed, Å³: proportional to the volume that atoms need, roughly."""
    return float(sum(covalent_radius_ang(s) ** 3 for s in species))
