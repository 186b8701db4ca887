"""Records that stages exchange: frozen, named, with units; `mapcsp.store` reads and writes them.

Conventions, everywhere: Å, eV, lattice vectors as rows, fractional coordinates in [0, 1), space groups as
ints 1-230, `z` as formula units in the *primitive* cell.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mapcsp.untried import NOTHING_UNTRIED, Untried


@dataclass(frozen=True, eq=False)
class Crystal:
    """A periodic structure; as a rule its primitive cell.

    lattice_ang: (3, 3), Å, lattice vectors as rows.
    species: (n,), element symbols.
    frac_coords: (n, 3), fractional, in [0, 1).
    """

    lattice_ang: np.ndarray
    species: tuple[str, ...]
    frac_coords: np.ndarray

    @property
    def n_atoms(self) -> int:
        """Atoms in the cell."""
        return len(self.species)

    @property
    def volume_ang3(self) -> float:
        """Cell volume, Å³, positive whatever the handedness."""
        return float(abs(np.linalg.det(self.lattice_ang)))


@dataclass(frozen=True)
class FormulaEntry:
    """One accepted row of the formula list.

    id: unique, file-safe. formula: in the order of its author, reduced unless its common factor belongs to it, as in Na2O2;
    it is the unit that z counts. amounts: (element, atoms in one such unit), in pymatgen's order, whoever wrote it.
    read_as: `formula`, or `content` of a cell, which fixes z.
    z_allowed: formula units in the primitive cell that the plan may try, ascending.
    z_given, space_group: what the user fixed.
    line: in the list, from 1; None in the file of one entry, so that moving a row changes no file and reruns nothing.
    max_atoms: the limit that z_allowed obeys; None where it has none.
    charge_neutral, electronegativity_balanced: smact's tests; None where smact has no data.
    """

    id: str
    formula: str
    as_given: str
    line: int | None
    amounts: tuple[tuple[str, int], ...]
    z_allowed: tuple[int, ...]
    z_given: bool
    space_group: int | None = None
    read_as: str = "formula"
    charge_neutral: bool | None = None
    electronegativity_balanced: bool | None = None
    max_atoms: int | None = None


@dataclass(frozen=True)
class RejectedRow:
    """One row of the formula list that cannot be used, and why, in words a user understands."""

    line: int
    content: str
    reason: str


@dataclass(frozen=True)
class Label:
    """A symmetry label: space group and the Wyckoff position of each orbit.

    orbits: (element, Wyckoff letter) of each orbit of one primitive cell's content, sorted.
    """

    space_group: int
    orbits: tuple[tuple[str, str], ...]

    @property
    def key(self) -> str:
        """The label as text, such as `225:Cl-b,Na-a`: stable, file-safe after the colon is replaced."""
        return f"{self.space_group}:" + ",".join(f"{e}-{w}" for e, w in self.orbits)

    @classmethod
    def from_key(cls, key: str) -> Label:
        """Inverse of `key`."""
        number, _, rest = key.partition(":")
        return cls(int(number), tuple((e, w) for e, _, w in (p.partition("-") for p in rest.split(","))))


@dataclass(frozen=True, eq=False)
class SeedGeometry:
    """A likely geometry of one label: the centre of a group of known crystals with that label.

    cell: (6,), a, b, c in Å and alpha, beta, gamma in degrees of the conventional cell, scaled to the predicted volume.
    free_coords: (f,), fractional, in the order of the label's orbits and of each orbit's free parameters.
    free_spread: (f,), standard deviation, fractional; 0 where only one crystal is behind it.
    weight: share of this group among the label's crystals; count: crystals behind it.
    """

    cell: np.ndarray
    free_coords: np.ndarray
    free_spread: np.ndarray
    weight: float
    count: int


@dataclass(frozen=True, eq=False)
class LabelPrediction:
    """One ranked symmetry label of a formula.

    log_prob: natural log of P(label, z | formula, something that is tried is right), comparable across z and labels.
    source: `trained` (the label occurs in the training crystals) or `enumerated` (from Wyckoff positions).
    cell: (6,), predicted conventional cell, a, b, c in Å and angles in degrees, exact for the crystal system.
    log_volume_spread: expected absolute deviation of ln(volume); shape_spread: mean of those of ln(b/a), ln(c/a) and the
    cosines of the angles.
    seeds: known geometries, most likely first; empty where the label has none.
    """

    label: Label
    z: int
    log_prob: float
    source: str
    cell: np.ndarray
    log_volume_spread: float
    shape_spread: float
    seeds: tuple[SeedGeometry, ...] = ()


@dataclass(frozen=True, eq=False)
class SymmetryPrediction:
    """Everything predicted about the symmetry of one formula.

    z_prob: (z, probability) of what is tried, most likely first. labels: most likely first.
    space_groups: (space group, probability) to run, the smallest set that reaches `coverage`.
    All probabilities are given that the right cell and label are among those that are tried; `untried` says what is not.
    """

    id: str
    formula: str
    z_prob: tuple[tuple[int, float], ...]
    labels: tuple[LabelPrediction, ...]
    space_groups: tuple[tuple[int, float], ...]
    model: str = ""
    untried: Untried = NOTHING_UNTRIED


@dataclass(frozen=True, eq=False)
class FeatureTensor:
    """Elemental features of one cell content, padded (AlphaCrystal-II, Table 1).

    values: (L, 11), raw units of `resources/tables/element_features.csv`; mask: (L,), True at atoms.
    species: (n,), grouped by element, as `elements.cell_species` gives them.
    """

    id: str
    z: int
    species: tuple[str, ...]
    values: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class PredictedMap:
    """Predicted distances and contacts of one cell content, for one label or (label None) for any.

    species: (n,), rows of the maps: the atoms of `symmetry.geometry.LabelGeometry` where a label is given.
    distance_ang: (n, n), expected minimum-image distance, Å, symmetric, zero diagonal.
    spread_ang: (n, n), its standard deviation, Å, positive off the diagonal.
    contact_prob: (n, n), probability of a bond (AlphaCrystal's rule), symmetric, zero diagonal.
    """

    z: int
    label_key: str | None
    species: tuple[str, ...]
    distance_ang: np.ndarray
    spread_ang: np.ndarray
    contact_prob: np.ndarray


@dataclass(frozen=True, eq=False)
class FormulaMaps:
    """All predicted maps of one formula."""

    id: str
    maps: tuple[PredictedMap, ...]
    model: str = ""


@dataclass(frozen=True, eq=False)
class ReconstructionTask:
    """One genetic search: a formula in a space group, with everything the search needs.

    labels and maps run in parallel (maps[i] belongs to labels[i]). status `ready`, or `infeasible` with a reason.
    """

    id: str
    formula_id: str
    formula: str
    space_group: int
    space_group_prob: float
    seed: int
    labels: tuple[LabelPrediction, ...]
    maps: tuple[PredictedMap, ...]
    status: str = "ready"
    reason: str = ""


@dataclass(frozen=True)
class FitnessTerms:
    """Fitness of a candidate, term by term (higher is better), of weight 0 too; None where the mode or the map lacks it.

    map_log_likelihood: mean over pairs of the log density of distances under the predicted map.
    contact_dice: Dice overlap with the predicted contact map. bond_validity: AlphaCrystal eq. 2.
    short_distance: penalty, 0 without short distances, negative otherwise.
    label_log_prob: natural log, as predicted. lattice_log_prob: log density of the cell under its prediction.
    distance_error_ang: RMSE against the expected distances, Å (dmcrystal).
    total: what the search maximised.
    """

    total: float
    map_log_likelihood: float | None = None
    contact_dice: float | None = None
    bond_validity: float | None = None
    short_distance: float | None = None
    label_log_prob: float | None = None
    lattice_log_prob: float | None = None
    distance_error_ang: float | None = None


@dataclass(frozen=True, eq=False)
class Candidate:
    """A reconstructed crystal before relaxation.

    origin: `prototype`, `search` or `user_seed`. label_rank: position of its label among the formula's labels, from 0.
    free_coords, cell: the genes it decodes from (see SeedGeometry). evaluations: spent by its search so far.
    prerelax_uncertainty_ang: of the one-pass relaxation (`relax.prerelax`), after which `crystal` no longer decodes from the
    genes; None without one.
    """

    id: str
    task_id: str
    formula_id: str
    formula: str
    z: int
    label: Label
    label_rank: int
    label_log_prob: float
    origin: str
    crystal: Crystal
    cell: np.ndarray
    free_coords: np.ndarray
    fitness: FitnessTerms
    seed: int
    prototype_count: int = 0
    prerelax_uncertainty_ang: float | None = None


@dataclass(frozen=True, eq=False)
class TaskResult:
    """What one genetic search found. status: `done`, `infeasible` or `failed`; reason says why."""

    task_id: str
    formula_id: str
    space_group: int
    status: str
    reason: str
    evaluations: int
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True, eq=False)
class CandidatePool:
    """The candidates of one formula that go on to relaxation, best first, and the counts of what was left out."""

    formula_id: str
    formula: str
    candidates: tuple[Candidate, ...]
    dropped: tuple[tuple[str, int], ...] = ()
    status: str = "done"
    reason: str = ""


@dataclass(frozen=True, eq=False)
class RelaxedCandidate:
    """A candidate after relaxation by a potential.

    crystal: relaxed, or None if dropped. status: `converged`, `unconverged` or `dropped`; reason says why.
    energy_ev_per_atom: the potential's; formation_energy_ev_per_atom: against its own elemental references.
    max_force_ev_per_ang, max_stress_gpa: at the last step. initial_energy_ev_per_atom: before the first step.
    volume_change: ratio after/before - 1.
    energy_above_hull_ev_per_atom: over the hull of the phases known to the run; None without such phases.
    symmetry_kept: whether the space group found after relaxation, at 0.1 Å whatever the tolerance of the report, is the
    label's; None without a crystal.
    rescored_energy_ev_per_atom: of the same crystal by a second potential, `rescored_by`; None where it was not asked.
    """

    candidate: Candidate
    status: str
    reason: str = ""
    crystal: Crystal | None = None
    energy_ev_per_atom: float | None = None
    initial_energy_ev_per_atom: float | None = None
    formation_energy_ev_per_atom: float | None = None
    max_force_ev_per_ang: float | None = None
    max_stress_gpa: float | None = None
    volume_change: float | None = None
    n_steps: int = 0
    potential: str = ""
    energy_above_hull_ev_per_atom: float | None = None
    symmetry_kept: bool | None = None
    rescored_energy_ev_per_atom: float | None = None
    rescored_by: str = ""


@dataclass(frozen=True, eq=False)
class RelaxedPool:
    """All relaxed candidates of one formula."""

    formula_id: str
    formula: str
    candidates: tuple[RelaxedCandidate, ...]


@dataclass(frozen=True, eq=False)
class RankedStructure:
    """One structure of the final answer.

    rank: from 1. probability: calibrated chance that this is the structure asked for; None where the ranking is by energy.
    space_group: found again after relaxation. merged: duplicates it stands for. cif: path in the results folder.
    rescored_above_best_ev_per_atom: by the second potential, above its lowest of the pool; None without one.
    energy_uncertainty_ev_per_atom: how far the two potentials disagree on it, against the other crystals of the pool;
    None where they cannot be compared. also_space_groups: of merged candidates that the search for symmetry put into others,
    though all atoms lie within its tolerance and the energies within noise; ascending.
    """

    formula_id: str
    formula: str
    rank: int
    z: float
    space_group: int
    probability: float | None
    score: float
    formation_energy_ev_per_atom: float | None
    energy_ev_per_atom: float
    energy_above_best_ev_per_atom: float
    relaxed: RelaxedCandidate
    merged: int = 0
    cif: str = ""
    rescored_above_best_ev_per_atom: float | None = None
    energy_uncertainty_ev_per_atom: float | None = None
    also_space_groups: tuple[int, ...] = ()


@dataclass(frozen=True)
class CandidateSummary:
    """One relaxed candidate in a line, ranked or not: what an energy-volume plot of the whole pool needs.

    rank: of the structure it was merged into, from 1; None if it is below the top K or has no energy.
    probability: its own share before duplicates were merged; None where the ranking is by energy.
    space_group: after relaxation; None without a relaxed crystal.
    """

    formula_id: str
    candidate_id: str
    label_key: str
    origin: str
    status: str
    reason: str
    energy_ev_per_atom: float | None
    volume_ang3_per_atom: float | None
    space_group: int | None
    probability: float | None
    rank: int | None


@dataclass(frozen=True, eq=False)
class FormulaOutcome:
    """The end of one formula: its ranked structures, or why there are none. status: `done`, `failed`.

    untried: by the symmetry stage. outside_domain: how the formula is unlike those that the networks learned from, if it is.
    """

    formula_id: str
    formula: str
    status: str
    reason: str
    n_candidates: int
    n_relaxed: int
    structures: tuple[RankedStructure, ...] = field(default=())
    untried: Untried = NOTHING_UNTRIED
    outside_domain: tuple[str, ...] = ()
