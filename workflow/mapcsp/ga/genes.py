"""Named genes: which label, its free coordinates, its free cell parameters; and what each decodes to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np

from mapcsp.records import LabelPrediction
from mapcsp.symmetry.cells import free_cell_indices, impose_crystal_system
from mapcsp.symmetry.geometry import label_geometry

CELL_NAMES = ("a", "b", "c", "alpha", "beta", "gamma")
# Cells are searched within this many standard deviations of the prediction.
CELL_RANGE = 3.0
# A cell flatter than this share of its box a*b*c is no crystal's: reduced cells of real ones lie above 0.35.
MIN_FLATNESS = 0.1


class GeneKind(Enum):
    """What a gene means, which decides the operators that may change it."""

    COORDINATE = "coordinate"
    LENGTH = "length"
    ANGLE = "angle"


@dataclass(frozen=True)
class Gene:
    """One variable of the search.

    orbit: the orbit of the label that a coordinate belongs to, else None.
    centre, spread: expected value and standard deviation: fractional for coordinates (periodic, spread 1), ln(Å) for
    lengths, radians for angles.
    """

    name: str
    kind: GeneKind
    orbit: int | None
    centre: float
    spread: float


@dataclass(frozen=True, eq=False)
class GeneLayout:
    """The genes of one label, in the order of the columns of a population's array: coordinates, then the cell.

    The label itself is a gene too, held by the population: an individual's array has meaning under its label only.
    """

    prediction: LabelPrediction
    genes: tuple[Gene, ...]
    n_coordinates: int
    free_cell: tuple[int, ...]

    @property
    def n_genes(self) -> int:
        """Columns."""
        return len(self.genes)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, such as `O-f[1].x` or `cell.c`."""
        return tuple(g.name for g in self.genes)

    @cached_property
    def low(self) -> np.ndarray:
        """(g,), lower bounds; coordinates wrap instead."""
        return np.array(
            [0.0 if g.kind is GeneKind.COORDINATE else g.centre - CELL_RANGE * g.spread for g in self.genes]
        )

    @cached_property
    def high(self) -> np.ndarray:
        """(g,), upper bounds."""
        return np.array(
            [1.0 if g.kind is GeneKind.COORDINATE else g.centre + CELL_RANGE * g.spread for g in self.genes]
        )

    def decode(self, genes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Turn genes (p, g) into cells (p, 6), Å and degrees, and free coordinates (p, f) in [0, 1)."""
        return self.decode_cells(genes), np.mod(genes[:, : self.n_coordinates], 1.0)

    def decode_cells(self, genes: np.ndarray) -> np.ndarray:
        """Turn genes (p, g) into cells (p, 6), exact for the space group."""
        number = self.prediction.label.space_group
        cells = np.repeat(impose_from_free(self.prediction.cell[None], number), len(genes), axis=0)
        for column, index in enumerate(self.free_cell, start=self.n_coordinates):
            values = genes[:, column]
            cells[:, index] = np.exp(values) if index < 3 else np.degrees(values)
        return _copy_tied(cells, number)

    def encode(self, cells: np.ndarray, free_coords: np.ndarray) -> np.ndarray:
        """Turn cells (p, 6) and free coordinates (p, f) into genes (p, g), cells clipped into their range."""
        columns = [np.log(cells[:, i]) if i < 3 else np.radians(cells[:, i]) for i in self.free_cell]
        return self.confine(np.column_stack([np.mod(free_coords, 1.0), *columns]))

    def confine(self, genes: np.ndarray) -> np.ndarray:
        """Wrap coordinates, and stop cell genes at their bounds. Returns a new array (p, g)."""
        confined = np.clip(genes, self.low, self.high)
        confined[:, : self.n_coordinates] = np.mod(genes[:, : self.n_coordinates], 1.0)
        return confined

    def difference(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """a - b, the short way round for coordinates."""
        delta = a - b
        coordinates = delta[..., : self.n_coordinates]
        coordinates -= np.rint(coordinates)
        return delta


def impose_from_free(cells: np.ndarray, number: int) -> np.ndarray:
    """Make cells (p, 6) exact for the space group; tied lengths copy the free one, which keeps its exact value."""
    exact = impose_crystal_system(cells, number)
    free = list(free_cell_indices(number))
    exact[:, free] = cells[:, free]
    return _copy_tied(exact, number)


def _copy_tied(cells: np.ndarray, number: int) -> np.ndarray:
    free = free_cell_indices(number)
    for index in (1, 2):
        if index not in free:
            cells[:, index] = cells[:, 0]
    return cells


def gene_layout(prediction: LabelPrediction, search_cell: bool) -> GeneLayout:
    """List the genes of a label; without `search_cell`, or where nothing is uncertain, the predicted cell stays fixed."""
    label = prediction.label
    geometry = label_geometry(label)
    genes = []
    for orbit, (element, letter) in enumerate(label.orbits):
        owned = range(geometry.orbit_free[orbit].start, geometry.orbit_free[orbit].stop)
        for number, _ in enumerate(owned):
            genes.append(Gene(f"{element}-{letter}[{orbit}].{number}", GeneKind.COORDINATE, orbit, 0.5, 1.0))
    free_cell: tuple[int, ...] = ()
    if search_cell:
        free = free_cell_indices(label.space_group)
        spreads = {i: _cell_spread(prediction, i, sum(j < 3 for j in free)) for i in free}
        free_cell = tuple(i for i in free if spreads[i] > 0)
        for index in free_cell:
            kind = GeneKind.LENGTH if index < 3 else GeneKind.ANGLE
            value = float(prediction.cell[index])
            centre = float(np.log(value)) if index < 3 else float(np.radians(value))
            genes.append(Gene(f"cell.{CELL_NAMES[index]}", kind, None, centre, spreads[index]))
    return GeneLayout(prediction, tuple(genes), geometry.n_free, free_cell)


def _cell_spread(prediction: LabelPrediction, index: int, n_lengths: int) -> float:
    """Standard deviation of one free cell parameter: a third of ln(volume)'s for a length, and the shape's."""
    if index >= 3:
        return prediction.shape_spread
    shape = prediction.shape_spread if n_lengths > 1 else 0.0
    return float(np.hypot(prediction.log_volume_spread / 3, shape))


def sound_cells(cells: np.ndarray) -> np.ndarray:
    """Which cells (p, 6) span a volume: possible angles, and not flat. Returns (p,) bool."""
    cosines = np.cos(np.radians(cells[:, 3:]))
    # The square of volume / (a b c); negative for angles that no cell has.
    square = 1 - (cosines**2).sum(1) + 2 * cosines.prod(1)
    return square > MIN_FLATNESS**2
