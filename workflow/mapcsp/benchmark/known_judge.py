"""Whether a prediction from the formula alone put a well-known compound's phase first, and if not, where it was lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from pymatgen.analysis.structure_matcher import StructureMatcher

from mapcsp.benchmark.judge import CAUSES
from mapcsp.benchmark.known_phases import KnownCompound, KnownPhase
from mapcsp.crystals import to_structure
from mapcsp.metrics.match import LOOSE, STRICT, match_rms
from mapcsp.ranking.symmetry_found import find_symmetry
from mapcsp.records import (
    Crystal,
    FormulaEntry,
    FormulaOutcome,
    Label,
    RankedStructure,
    RelaxedPool,
    SymmetryPrediction,
)
from mapcsp.symmetry.labels import canonical_label

MAX_STRAIN = 0.05
ENANTIOMORPHS = {
    78: 76,
    95: 91,
    96: 92,
    145: 144,
    153: 151,
    154: 152,
    170: 169,
    172: 171,
    179: 178,
    181: 180,
    213: 212,
}
"""Mirror images have one energy: each second group counts as the first."""

KNOWN_CAUSES = CAUSES | {
    "formula refused": "the formula was not accepted",
    "cell not tried": "the right cell has more atoms than were tried",
    "z not tried": "the right number of formula units was not among those tried",
    "merged": "a relaxed candidate is right, and the answer that stands for it is another crystal or group",
    "below the answers": "a relaxed candidate is right, and ranked below the answers reported",
    "cell wrong": "an answer is the right crystal in the right space group, in a cell strained beyond the criterion",
    "space group wrong": "an answer matches strictly, and relaxed into another space group",
}


@dataclass(frozen=True, eq=False)
class FormulaRun:
    """What a run kept of one formula; rejected: why the formula was refused, then all else is None.

    ranked: ids of the candidates that the reported answers stand for. symprec_ang: at which groups were found.
    """

    rejected: str
    entry: FormulaEntry | None = None
    symmetry: SymmetryPrediction | None = None
    pool: RelaxedPool | None = None
    outcome: FormulaOutcome | None = None
    ranked: frozenset[str] = frozenset()
    symprec_ang: float = 0.1


@dataclass(frozen=True)
class JudgedCompound:
    """How the prediction of one well-known compound did; ranks from 1, None where no answer is right.

    formula, phase, space_group, n_atoms: of the ambient phase, its primitive cell. rank: of the first answer that is the
    ambient phase by all criteria; rank_by_matcher: by the loose matcher alone; rank_any_phase: that is any listed phase by
    all criteria. first_space_group: of the first answer. strain: largest, of the ranked answer, else of the first answer
    that matches strictly. energy_above_first_ev_per_atom: of the ranked answer. cause: one of KNOWN_CAUSES; reason: of a
    refusal. in_training: whether the symmetry model was trained on a crystal of this formula.
    """

    formula: str
    phase: str
    space_group: int
    n_atoms: int
    rank: int | None
    rank_by_matcher: int | None
    rank_any_phase: int | None
    first_space_group: int | None
    strain: float | None
    energy_above_first_ev_per_atom: float | None
    cause: str
    reason: str
    in_training: bool


@dataclass(frozen=True)
class Comparison:
    """An answer against a phase. strain: None where the two do not match strictly."""

    loose: bool
    strict: bool
    same_group: bool
    strain: float | None

    @property
    def same_crystal(self) -> bool:
        """Whether matcher and space group agree, whatever the cell."""
        return self.strict and self.same_group

    @property
    def right(self) -> bool:
        """Whether matcher, space group and cell all agree."""
        return self.same_crystal and self.strain is not None and self.strain <= MAX_STRAIN


def compare(crystal: Crystal, phase: KnownPhase, symprec_ang: float) -> Comparison:
    """Compare a crystal with a phase by matcher, space group and cell."""
    loose = match_rms(crystal, phase.crystal, LOOSE) is not None
    if not loose:
        return Comparison(False, False, False, None)
    found = find_symmetry(crystal, symprec_ang)
    same_group = _achiral(found.space_group) == _achiral(phase.label.space_group)
    strict = match_rms(crystal, phase.crystal, STRICT) is not None
    strain = largest_strain(found.primitive, phase.crystal) if strict else None
    return Comparison(loose, strict, same_group, strain)


def largest_strain(predicted: Crystal, known: Crystal) -> float | None:
    """Largest |stretch - 1| along the principal axes that turns the known cell into the predicted one.

    It does not depend on how either cell is chosen: in orthogonal cells it is the largest relative error of a length.
    None where atoms of the two primitive cells cannot be paired.
    """
    matcher = StructureMatcher(
        STRICT.ltol, STRICT.stol, STRICT.angle_tol_deg, primitive_cell=False, attempt_supercell=False
    )
    reference = to_structure(known)
    mapped = matcher.get_s2_like_s1(reference, to_structure(predicted))
    if mapped is None:
        return None
    deformation = np.linalg.solve(reference.lattice.matrix, mapped.lattice.matrix)
    return float(np.abs(np.linalg.svd(deformation, compute_uv=False) - 1).max())


def _achiral(space_group: int) -> int:
    return ENANTIOMORPHS.get(space_group, space_group)


def _label_name(label: Label) -> tuple[int, tuple[tuple[str, str], ...]]:
    canonical = canonical_label(label)
    return _achiral(canonical.space_group), canonical.orbits


class CompoundJudge:
    """Judges the run of one compound's formula."""

    def __init__(self, compound: KnownCompound, run: FormulaRun, in_training: bool) -> None:
        self.compound, self.run, self.in_training = compound, run, in_training
        self.phase = compound.ambient

    def judge(self) -> JudgedCompound:
        """Ranks, strain and cause."""
        phase, answers = self.phase, self._answers
        to_ambient = self._to_ambient
        rank = _first(c.right for c in to_ambient)
        ranked = None if rank is None else answers[rank - 1]
        shown = [c for c in (to_ambient if rank is None else to_ambient[rank - 1 :]) if c.strain is not None]
        others = [[self._compare(a, p).right for a in answers] for p in self.compound.phases[1:]]
        any_phase = [any(column) for column in zip((c.right for c in to_ambient), *others)]
        return JudgedCompound(
            formula=self.compound.formula,
            phase=phase.name,
            space_group=phase.label.space_group,
            n_atoms=phase.crystal.n_atoms,
            rank=rank,
            rank_by_matcher=_first(c.loose for c in to_ambient),
            rank_any_phase=_first(any_phase),
            first_space_group=answers[0].space_group if answers else None,
            strain=shown[0].strain if shown else None,
            energy_above_first_ev_per_atom=None if ranked is None else _energy_gap(answers[0], ranked),
            cause=self._cause(rank),
            reason=self.run.rejected,
            in_training=self.in_training,
        )

    @cached_property
    def _answers(self) -> tuple[RankedStructure, ...]:
        return self.run.outcome.structures if self.run.outcome else ()

    @cached_property
    def _to_ambient(self) -> list[Comparison]:
        return [self._compare(a, self.phase) for a in self._answers]

    def _compare(self, answer: RankedStructure, phase: KnownPhase) -> Comparison:
        crystal = answer.relaxed.crystal
        assert crystal is not None, "a ranked structure has a crystal"
        return compare(crystal, phase, self.run.symprec_ang)

    def _cause(self, rank: int | None) -> str:
        """The first stage at which the right answer was lost; keys of KNOWN_CAUSES."""
        if rank == 1:
            return "found"
        if rank is not None:
            gap = _energy_gap(self._answers[0], self._answers[rank - 1])
            return "energy order wrong" if gap > 0 else "ranked low"
        return self._never_tried() or self._lost_in_pool() or self._lost_before_pool()

    def _never_tried(self) -> str | None:
        entry, prediction = self.run.entry, self.run.symmetry
        if entry is None or prediction is None:
            return "formula refused"
        # Atoms, not z: the formula unit of the entry may be the formula as written.
        per_unit = sum(n for _, n in entry.amounts)
        needed = self.phase.crystal.n_atoms
        if needed > max(entry.z_allowed) * per_unit and not entry.z_given:
            return "cell not tried"
        if needed not in [z * per_unit for z, _ in prediction.z_prob]:
            return "z not tried"
        return None

    def _lost_in_pool(self) -> str | None:
        candidates = self.run.pool.candidates if self.run.pool else ()
        symprec = self.run.symprec_ang
        for relaxed in candidates:
            if relaxed.crystal is not None and compare(relaxed.crystal, self.phase, symprec).right:
                return "merged" if relaxed.candidate.id in self.run.ranked else "below the answers"
        if any(c.same_crystal for c in self._to_ambient):
            return "cell wrong"
        if any(c.strict for c in self._to_ambient) and self._listed_label_in_pool:
            return "space group wrong"
        if any(compare(r.candidate.crystal, self.phase, symprec).same_crystal for r in candidates):
            return "relaxed away"
        return "coordinates wrong" if self._listed_label_in_pool else None

    @cached_property
    def _listed_label_in_pool(self) -> bool:
        candidates = self.run.pool.candidates if self.run.pool else ()
        return self._has_label([r.candidate.label for r in candidates])

    def _lost_before_pool(self) -> str:
        labels = self.run.symmetry.labels if self.run.symmetry else ()
        return "label not searched" if self._has_label([p.label for p in labels]) else "label absent"

    def _has_label(self, labels: Sequence[Label]) -> bool:
        """Whether the phase's label is among these; a label fixes the content of the cell, and with it z."""
        return _label_name(self.phase.label) in {_label_name(label) for label in labels}


def _energy_gap(first: RankedStructure, other: RankedStructure) -> float:
    """How far an answer lies above the first, eV/atom: by the second potential where both were asked."""
    own = first.relaxed.rescored_energy_ev_per_atom, other.relaxed.rescored_energy_ev_per_atom
    if own[0] is not None and own[1] is not None:
        return own[1] - own[0]
    return other.energy_ev_per_atom - first.energy_ev_per_atom


def _first(flags) -> int | None:
    return next((rank for rank, flag in enumerate(flags, start=1) if flag), None)
