"""What a prediction did not try, and how probable that is: a limit is not an answer."""

from __future__ import annotations

from dataclasses import dataclass

# Less than this is not worth a word, and no more than so many cells are named.
WORTH_NAMING, MOST_NAMED = 0.02, 3


@dataclass(frozen=True)
class UntriedCell:
    """A number of formula units in the primitive cell that was not tried.

    probability: of this z, given the formula (and the space group, if given). limit: the setting that keeps it out:
    `most 24` (atoms, intake.max_atoms) or `symmetry.max_z = 4`.
    """

    z: int
    n_atoms: int
    probability: float
    limit: str

    @property
    def text(self) -> str:
        """Such as `z = 4 (28 atoms) not tried: most 24`."""
        return f"z = {self.z} ({self.n_atoms} atoms) not tried: {self.limit}"


@dataclass(frozen=True)
class Untried:
    """All that was not tried of one formula.

    cells: by falling probability, down to negligible ones. cells_probability: of all z that were not tried.
    labels_probability: of the symmetry labels that were not tried in the cells that were.
    """

    cells: tuple[UntriedCell, ...] = ()
    cells_probability: float = 0.0
    labels_probability: float = 0.0

    @property
    def probability(self) -> float:
        """That the crystal is none of what was tried."""
        return min(self.cells_probability + self.labels_probability, 1.0)

    @property
    def text(self) -> str:
        """What was not tried, in words; empty where nothing of weight was left out."""
        named = [c.text for c in self.cells if c.probability >= WORTH_NAMING][:MOST_NAMED]
        if not named and self.cells_probability >= WORTH_NAMING and self.cells:
            named = [self.cells[0].text]
        if self.labels_probability >= WORTH_NAMING:
            named.append(
                f"labels of probability {self.labels_probability:.2f} not tried: symmetry.n_labels, max_space_groups"
            )
        return "; ".join(named)


NOTHING_UNTRIED = Untried()
