"""Errors of relaxed crystals against true ones (arXiv:2404.00865, section 4.10), beside the Dummy that changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mapcsp.crystals import wrap
from mapcsp.deeprelax.graph import crystal_numbers
from mapcsp.deeprelax.model import scaled_lattices
from mapcsp.deeprelax.pairs import RelaxPair, symmetric_stretch
from mapcsp.deeprelax.predict import OnePass
from mapcsp.metrics.match import STRICT, match_rms
from mapcsp.records import Crystal
from mapcsp.relax.relaxation import Relaxation


@dataclass(frozen=True, eq=False)
class Answer:
    """A relaxed crystal: lattice (3, 3) in the orientation of the unrelaxed one, coordinates (n, 3) next to its atoms."""

    lattice_ang: np.ndarray
    frac: np.ndarray


def dummy_answer(pair: RelaxPair) -> Answer:
    """The unrelaxed crystal as it is."""
    return Answer(pair.initial.lattice_ang, pair.initial.frac_coords)


def scaled_answer(pair: RelaxPair, element_volume_ang3: np.ndarray) -> Answer:
    """The unrelaxed crystal at the sum of its elements' fitted volumes: what the network starts from."""
    lattice = scaled_lattices(
        [crystal_numbers(pair.initial)], pair.initial.lattice_ang[None], element_volume_ang3
    )
    return Answer(lattice[0], pair.initial.frac_coords)


def one_pass_answer(found: OnePass) -> Answer:
    """What the network says."""
    return Answer(found.crystal.lattice_ang, found.frac_unwrapped)


def potential_answer(pair: RelaxPair, found: Relaxation) -> Answer | None:
    """What a potential relaxed to, None where it dropped the crystal."""
    if found.crystal is None:
        return None
    step = found.crystal.frac_coords - wrap(pair.initial.frac_coords)
    lattice = symmetric_stretch(pair.initial.lattice_ang, found.crystal.lattice_ang)
    return Answer(lattice, pair.initial.frac_coords + step - np.rint(step))


@dataclass(frozen=True)
class RelaxErrors:
    """Mean errors over crystals.

    coordinate_mae_ang: of Cartesian coordinates, centroids on each other (the origin of a crystal is a convention).
    lattice_mae_ang: of the nine entries. volume_mae_ang3: of the cell. match_rate: share that StructureMatcher's defaults
    match (ltol .2, stol .3).
    """

    coordinate_mae_ang: float
    lattice_mae_ang: float
    volume_mae_ang3: float
    volume_mre: float
    match_rate: float
    crystals: int


def relax_errors(pairs: Sequence[RelaxPair], answers: Sequence[Answer]) -> RelaxErrors:
    """Judge answers to pairs, in their order; raises ValueError without any."""
    if not pairs or len(pairs) != len(answers):
        raise ValueError(f"{len(answers)} answers to {len(pairs)} pairs; expected one each, and at least one")
    rows = np.array([_errors(pair, answer) for pair, answer in zip(pairs, answers)])
    coordinate, lattice, volume, relative, matched = (float(m) for m in rows.mean(0))
    return RelaxErrors(coordinate, lattice, volume, relative, matched, len(pairs))


def _errors(pair: RelaxPair, answer: Answer) -> tuple[float, float, float, float, float]:
    here = (answer.frac - answer.frac.mean(0)) @ answer.lattice_ang
    true = (pair.frac_coords - pair.frac_coords.mean(0)) @ pair.lattice_ang
    volume, own = abs(np.linalg.det(answer.lattice_ang)), abs(np.linalg.det(pair.lattice_ang))
    predicted = Crystal(answer.lattice_ang, pair.initial.species, wrap(answer.frac))
    matched = match_rms(predicted, pair.relaxed, STRICT) is not None
    return (
        float(np.abs(here - true).mean()),
        float(np.abs(answer.lattice_ang - pair.lattice_ang).mean()),
        float(abs(volume - own)),
        float(abs(volume / own - 1)),
        float(matched),
    )
