"""How good predictions of known crystals were: matches of every answer, and where the right one was lost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from tqdm import tqdm

from mapcsp.benchmark.records import KnownTarget, PredictionCost
from mapcsp.benchmark.variants import VARIANTS, Variant
from mapcsp.metrics.match import LOOSE, STRICT, match_rms, passes_published_filter
from mapcsp.metrics.structures import CellEnergies, StructureDistances, compare_structures
from mapcsp.provenance import versions
from mapcsp.ranking.model import RankerCoefficients, load_ranker
from mapcsp.ranking.rank import rank_pool
from mapcsp.records import Crystal, Label, RelaxedCandidate, RelaxedPool
from mapcsp.settings import RankingSettings, read_section
from mapcsp.store import read_header, read_records, write_records
from mapcsp.symmetry.labels import canonical_label

DEPTH = 20
CAUSES = {
    "found": "the first answer is right",
    "energy order wrong": "the right crystal is among the answers, and the first has the lower energy",
    "ranked low": "the right crystal is among the answers, has the lower energy, and is not first",
    "relaxed away": "a candidate was right and became another crystal",
    "coordinates wrong": "the right label is in the pool, the right crystal is not",
    "label not searched": "the right label was predicted and did not reach the pool",
    "label absent": "the right label was not predicted",
}


@dataclass(frozen=True)
class AnswerMatches:
    """RMS displacement of each answer, best answer first, None where it is another crystal (see `metrics.match`)."""

    loose: tuple[float | None, ...]
    strict: tuple[float | None, ...]


@dataclass(frozen=True)
class Judged:
    """How one variant did on one known crystal.

    target: matches with the crystal itself; polymorph: with any crystal of its formula in the table.
    valid: whether each answer passes the filter of published figures; target_valid: whether the crystal does.
    space_group: of the first answer. probability: claimed for the first answer, None where the order is another.
    cause: one of CAUSES. distances: of the first answer, None without one or where they were not asked for.
    """

    variant: str
    formula_id: str
    target: AnswerMatches
    polymorph: AnswerMatches
    valid: tuple[bool, ...]
    target_valid: bool
    space_group: int | None
    space_group_found: bool
    probability: float | None
    cause: str
    distances: StructureDistances | None


@dataclass(frozen=True, eq=False)
class _Answer:
    """A crystal among a variant's answers; key: the same for the same crystal in two variants."""

    key: str
    crystal: Crystal
    space_group: int
    energy_ev_per_atom: float | None
    probability: float | None


class PoolJudge:
    """Judges the variants of one pool; a crystal that several of them answer with is compared once.

    cell_energies: for the energy distance. with_distances: also measure the first answers' distances (slow).
    """

    def __init__(
        self,
        target: KnownTarget,
        pool: RelaxedPool,
        cost: PredictionCost,
        ranker: RankerCoefficients,
        settings: RankingSettings,
        cell_energies: CellEnergies | None = None,
        with_distances: bool = True,
    ) -> None:
        self.target, self.pool, self.cost = target, pool, cost
        self._ranker, self._settings = ranker, settings
        self._cell_energies, self._with_distances = cell_energies, with_distances
        self._known = (target.crystal, *target.polymorphs)
        self._matches: dict[str, tuple[_Match, ...]] = {}
        self._distances: dict[str, StructureDistances] = {}

    def judge(self, variant: Variant) -> Judged:
        """Order the pool as the variant does and compare its answers with the known crystals."""
        answers = self._answers(variant)
        to_target = [self._match(a.key, a.crystal)[0] for a in answers]
        to_any = [_best(self._match(a.key, a.crystal)) for a in answers]
        first = answers[0] if answers else None
        return Judged(
            variant=variant.name,
            formula_id=self.target.entry.id,
            target=_columns(to_target),
            polymorph=_columns(to_any),
            valid=tuple(passes_published_filter(a.crystal) for a in answers),
            target_valid=passes_published_filter(self.target.crystal),
            space_group=first.space_group if first else None,
            space_group_found=first is not None and first.space_group == self._true_label.space_group,
            probability=first.probability if first else None,
            cause=self._cause(variant, answers),
            distances=self._measure(first) if first and self._with_distances else None,
        )

    @cached_property
    def _true_label(self) -> Label:
        return Label.from_key(self.target.label_key)

    def _answers(self, variant: Variant) -> list[_Answer]:
        if variant.order == "pool":
            return [
                _Answer(f"start {c.id}", c.crystal, c.label.space_group, None, None)
                for c in (r.candidate for r in self.pool.candidates[:DEPTH])
            ]
        pool, rank_by = self.pool, variant.order
        if variant.order == "one_potential":
            pool, rank_by = _without_second_energies(pool), "probability"
        settings = self._settings.model_copy(update={"top_k": DEPTH, "rank_by": rank_by})
        outcome, _, _ = rank_pool(pool, settings, self._ranker)
        return [
            _Answer(
                f"relaxed {s.relaxed.candidate.id}",
                s.relaxed.crystal,
                s.space_group,
                _energy(s.relaxed, variant),
                s.probability,
            )
            for s in outcome.structures
            if s.relaxed.crystal is not None
        ]

    def _match(self, key: str, crystal: Crystal) -> tuple[_Match, ...]:
        """Matches with the target and each polymorph."""
        if key not in self._matches:
            self._matches[key] = tuple(_match(crystal, known) for known in self._known)
        return self._matches[key]

    def _measure(self, answer: _Answer) -> StructureDistances:
        if answer.key not in self._distances:
            self._distances[answer.key] = compare_structures(
                answer.crystal, self.target.crystal, self._cell_energies, with_powder=False
            )
        return self._distances[answer.key]

    def _cause(self, variant: Variant, answers: Sequence[_Answer]) -> str:
        """The first stage at which the right answer was lost; keys of CAUSES."""
        right = [a for a in answers if self._match(a.key, a.crystal)[0].loose is not None]
        if right and right[0] is answers[0]:
            return "found"
        if right:
            energies = answers[0].energy_ev_per_atom, right[0].energy_ev_per_atom
            if energies[0] is not None and energies[1] is not None and energies[0] < energies[1]:
                return "energy order wrong"
            return "ranked low"
        candidates = [r.candidate for r in self.pool.candidates]
        if variant.relaxed and any(
            self._match(f"start {c.id}", c.crystal)[0].loose is not None for c in candidates
        ):
            return "relaxed away"
        truth = canonical_label(self._true_label)
        if any(canonical_label(c.label) == truth and c.z == self.target.z for c in candidates):
            return "coordinates wrong"
        return "label absent" if self.cost.true_label_rank is None else "label not searched"


def _without_second_energies(pool: RelaxedPool) -> RelaxedPool:
    bare = (replace(r, rescored_energy_ev_per_atom=None, rescored_by="") for r in pool.candidates)
    return replace(pool, candidates=tuple(bare))


def _energy(relaxed: RelaxedCandidate, variant: Variant) -> float | None:
    """The energy that a variant goes by: the second potential's where it asks for one and there is one."""
    if variant.rescored and relaxed.rescored_energy_ev_per_atom is not None:
        return relaxed.rescored_energy_ev_per_atom
    return relaxed.energy_ev_per_atom


@dataclass(frozen=True)
class _Match:
    """RMS displacements of one answer to one known crystal, None where they do not match."""

    loose: float | None
    strict: float | None


def _match(predicted: Crystal, true: Crystal) -> _Match:
    loose = match_rms(predicted, true, LOOSE)
    # Each pairing of lattices and sites that is within the strict tolerances is within the loose ones.
    return _Match(loose, None if loose is None else match_rms(predicted, true, STRICT))


def _best(matches: Sequence[_Match]) -> _Match:
    loose = [m.loose for m in matches if m.loose is not None]
    strict = [m.strict for m in matches if m.strict is not None]
    return _Match(min(loose, default=None), min(strict, default=None))


def _columns(matches: Sequence[_Match]) -> AnswerMatches:
    return AnswerMatches(tuple(m.loose for m in matches), tuple(m.strict for m in matches))


def run_judge(
    targets_file: Path,
    pools_file: Path,
    cost_file: Path,
    settings_file: Path,
    variants: Sequence[str],
    weights: Path | None,
    with_distances: bool,
    output: Path,
) -> None:
    """Judge the relaxed pools of one chunk and write one `Judged` a variant and crystal.

    weights: of M3GNet, for the energy distance. with_distances: also measure the first answers' distances.
    """
    settings = read_section(settings_file, RankingSettings)
    targets, pools = read_records(targets_file, KnownTarget), read_records(pools_file, RelaxedPool)
    costs = read_records(cost_file, PredictionCost)
    energies = _cell_energies(weights) if with_distances else None
    ranker = load_ranker()
    judged = []
    for target, pool, cost in zip(tqdm(targets, desc="judge", mininterval=5), pools, costs):
        judge = PoolJudge(target, pool, cost, ranker, settings, energies, with_distances)
        judged += [judge.judge(VARIANTS[name]) for name in variants]
    write_records(output, Judged, judged, versions=versions(headers=[read_header(pools_file)]))


def _cell_energies(weights: Path | None) -> CellEnergies:
    import torch

    from mapcsp.relax.backends import load_potential
    from mapcsp.relax.potential import evaluate

    torch.set_num_threads(1)
    potential = load_potential("m3gnet", "cpu", weights)
    return lambda crystals: [e.energy_ev for e in evaluate(potential, crystals)]
