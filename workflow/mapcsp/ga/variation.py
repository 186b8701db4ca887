"""Operators of the search, one for each kind of gene, each on a whole population at once.

All take and return genes (p, g) in the columns of a GeneLayout; `layout.confine` wraps and bounds the result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mapcsp.ga.genes import GeneLayout
from mapcsp.records import Label

# Blend crossover reaches this far beyond the segment between its parents (BLX-alpha, Eshelman and Schaffer 1993).
BLEND_REACH = 0.3
# Standard deviations of random steps: fractional for coordinates, of the predicted spread for cell genes.
COORDINATE_STEPS = (0.003, 0.1)
CELL_STEP = 0.3


def blend(layout: GeneLayout, parents: np.ndarray, mates: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mix each parent with its mate, gene by gene, the short way round for coordinates; lengths mix as logarithms."""
    share = rng.uniform(-BLEND_REACH, 1 + BLEND_REACH, parents.shape)
    return parents + share * layout.difference(mates, parents)


def differential(
    layout: GeneLayout, parents: np.ndarray, leaders: np.ndarray, others: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Differential evolution, current-to-best/1 or rand/1 by the coin (Storn and Price 1997).

    leaders: (p, g), good individuals to move towards. others: (3, p, g), random individuals.
    """
    scale = rng.uniform(0.3, 0.9, (len(parents), 1))
    towards = rng.random((len(parents), 1)) < 0.5
    base = np.where(towards, parents + scale * layout.difference(leaders, parents), others[2])
    mutant = base + scale * layout.difference(others[0], others[1])
    rate = rng.choice([0.3, 0.9, 1.0], (len(parents), 1))
    taken = rng.random(parents.shape) < rate
    return np.where(taken, mutant, parents)


def mutate_coordinates(
    layout: GeneLayout, genes: np.ndarray, rate: float, rng: np.random.Generator
) -> np.ndarray:
    """Change coordinates at random: mostly small steps of many sizes, else a new value, a reflection or half a cell."""
    n = layout.n_coordinates
    smallest, largest = COORDINATE_STEPS
    size = smallest * (largest / smallest) ** rng.random((len(genes), n))
    old = genes[:, :n]
    kind = rng.random((len(genes), n))
    stepped = np.select(
        [kind < 0.7, kind < 0.85, kind < 0.92],
        [old + size * rng.standard_normal((len(genes), n)), rng.random((len(genes), n)), 1.0 - old],
        old + 0.5,
    )
    mutated = genes.copy()
    mutated[:, :n] = np.where(rng.random((len(genes), n)) < rate, stepped, old)
    return mutated


def mutate_cell(layout: GeneLayout, genes: np.ndarray, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian steps of lengths (as logarithms) and angles, in proportion to their predicted spread."""
    n = layout.n_coordinates
    spread = np.array([g.spread for g in layout.genes[n:]])
    shape = (len(genes), layout.n_genes - n)
    steps = CELL_STEP * spread * rng.standard_normal(shape)
    mutated = genes.copy()
    mutated[:, n:] += np.where(rng.random(shape) < rate, steps, 0.0)
    return mutated


def swap_sets(label: Label, layout: GeneLayout) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Columns of each two orbits on the same Wyckoff position: exchanging them swaps the roles of two orbits."""
    columns: dict[int, list[int]] = {}
    for column, gene in enumerate(layout.genes):
        if gene.orbit is not None:
            columns.setdefault(gene.orbit, []).append(column)
    orbits = sorted(columns)
    return tuple(
        (np.array(columns[i]), np.array(columns[j]))
        for i in orbits
        for j in orbits
        if i < j and label.orbits[i][1] == label.orbits[j][1]
    )


def swap_roles(
    genes: np.ndarray, swaps: Sequence[tuple[np.ndarray, np.ndarray]], rate: float, rng: np.random.Generator
) -> np.ndarray:
    """Exchange the coordinates of two orbits on the same Wyckoff position in a share `rate` of individuals."""
    swapped = genes.copy()
    if not swaps:
        return swapped
    for row in np.flatnonzero(rng.random(len(genes)) < rate):
        one, two = swaps[int(rng.integers(len(swaps)))]
        swapped[row, one], swapped[row, two] = genes[row, two], genes[row, one]
    return swapped


def label_move(source: GeneLayout, target: GeneLayout) -> np.ndarray:
    """For each gene of the target label, the gene of the source label that it takes over, or -1.

    Orbits on the same Wyckoff position hand over their coordinates, those of the same element first: what is left is a
    change of element roles. Cell genes of one space group are the same.
    """
    source_orbits, target_orbits = source.prediction.label.orbits, target.prediction.label.orbits
    free = set(range(len(source_orbits)))
    partner: dict[int, int] = {}
    for same_element in (True, False):
        for orbit, (element, letter) in enumerate(target_orbits):
            if orbit in partner:
                continue
            for other in sorted(free):
                if source_orbits[other][1] == letter and (
                    not same_element or source_orbits[other][0] == element
                ):
                    partner[orbit] = other
                    free.discard(other)
                    break
    by_name = {name: column for column, name in enumerate(source.names)}
    taken = []
    for name, gene in zip(target.names, target.genes):
        if gene.orbit is None:
            taken.append(by_name.get(name, -1))
        elif gene.orbit in partner:
            element, letter = source_orbits[partner[gene.orbit]]
            axis = name.rsplit(".", 1)[1]
            taken.append(by_name[f"{element}-{letter}[{partner[gene.orbit]}].{axis}"])
        else:
            taken.append(-1)
    return np.array(taken, dtype=int)


def move_label(genes: np.ndarray, taken: np.ndarray, fresh: np.ndarray) -> np.ndarray:
    """Express individuals under another label: genes (m, g) of the source, `fresh` (m, h) where nothing is handed over."""
    return np.where(taken >= 0, genes[:, np.maximum(taken, 0)], fresh)
