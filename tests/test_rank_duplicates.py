"""Where two candidates stop being one phase: each limit of the comparison, with crystals on both sides of it."""

from __future__ import annotations

import dataclasses

import known_pools as known
import numpy as np
import pytest
from mapcsp.crystals import from_structure, to_structure
from mapcsp.ranking.duplicates import average_distances, group_duplicates
from mapcsp.ranking.symmetry_found import FoundSymmetry, find_symmetry
from mapcsp.records import Crystal
from pymatgen.core import Lattice, Structure

CAESIUM_CHLORIDE_SITES = [[0, 0, 0], [0.5, 0.5, 0.5]]


def found(*crystals: Crystal, symprec_ang: float = 0.06) -> list[FoundSymmetry]:
    return [find_symmetry(crystal, symprec_ang) for crystal in crystals]


def test_one_group_with_two_contents_of_the_cell_is_two_answers() -> None:
    (small,) = found(known.rocksalt())
    # All distances are equal: the same crystal in a cell of twice the size, which is then no primitive one.
    large = dataclasses.replace(small, primitive=from_structure(to_structure(small.primitive) * (2, 1, 1)))
    assert group_duplicates([small, small], [-3.4, -3.4], 0.1) == [0, 0]
    assert group_duplicates([small, large], [-3.4, -3.4], 0.1) == [0, 1]


def test_two_groups_that_no_match_joins_are_two_answers_whatever_the_tolerance() -> None:
    cubic, hexagonal = known.close_packed_sodium()
    # The 19th neighbour of the cubic stacking is .37 Å farther: 0.25 Å of tolerance is too much to see it, the match does.
    gap_ang = np.abs(average_distances(cubic) - average_distances(hexagonal)).max()
    assert 2 * 0.1 < gap_ang < 2 * 0.25
    assert group_duplicates(found(cubic, hexagonal), [-1.3, -1.3001], 0.25) == [1, 0]


@pytest.mark.parametrize(("symprec_ang", "expected"), [(0.077, [0, 0]), (0.075, [0, 1])])
def test_distances_of_two_groups_may_differ_by_twice_the_tolerance(symprec_ang, expected) -> None:
    # Oxygen moves by .07 Å and the edges grow by 1.5 %, which is .152 Å at the farthest neighbour; the match leaves edges
    # out of account.
    pair = found(known.perovskite(), known.tilted_perovskite(0.07, 3.905 * 1.015))
    gap_ang = np.abs(average_distances(pair[0].primitive) - average_distances(pair[1].primitive)).max()
    assert 2 * 0.075 < gap_ang < 2 * 0.077
    assert group_duplicates(pair, [-8.0005, -8.0], symprec_ang) == expected


def tetragonal(ratio: float) -> Crystal:
    """CsCl stretched along c to this c/a, its volume kept."""
    a = 3.35 * ratio ** (-1 / 3)
    return Crystal(np.diag([a, a, a * ratio]), ("Na", "Cl"), np.array(CAESIUM_CHLORIDE_SITES))


def rhombohedral(angle_deg: float) -> Crystal:
    lattice = Lattice.rhombohedral(4.0, angle_deg).scale(60.0)
    return from_structure(Structure(lattice, ["Na", "Cl"], CAESIUM_CHLORIDE_SITES))


@pytest.mark.parametrize(
    ("make", "values", "n_answers"),
    [
        # c/a of 1.3 for 1.2 makes c longer by 5 %, 1.5 by 16 %.
        (tetragonal, (1.2, 1.3), 1),
        (tetragonal, (1.2, 1.5), 2),
        (rhombohedral, (75.0, 77.0), 1),
        (rhombohedral, (75.0, 81.0), 2),
    ],
)
def test_one_group_in_two_shapes_of_the_cell_is_two_answers(make, values, n_answers) -> None:
    pair = found(*map(make, values), symprec_ang=0.01)
    assert pair[0].space_group == pair[1].space_group
    assert len(set(group_duplicates(pair, [-3.4, -3.4], 0.1))) == n_answers
