import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapcsp.errors import UserError
from mapcsp.records import Label
from mapcsp.symmetry.cells import (
    bravais_lattice,
    cell_from_lattice,
    cell_volume_ang3,
    free_cell_indices,
    impose_crystal_system,
    lattice_from_cell,
    scale_to_volume,
)
from mapcsp.symmetry.geometry import label_geometry
from mapcsp.symmetry.normaliser import letter_exchanges
from mapcsp.symmetry.wyckoff import space_group

EXACT = 1e-9


@pytest.mark.parametrize(
    ("number", "letter", "multiplicity"),
    [(225, "a", 1), (225, "l", 48), (227, "a", 2), (166, "c", 2), (62, "c", 4), (136, "f", 4), (194, "h", 6)],
)
def test_multiplicities_are_those_of_the_primitive_cell(number: int, letter: str, multiplicity: int) -> None:
    # ITA: conventional multiplicities 4, 192, 8, 6, 4, 4, 6 divided by the centring.
    assert space_group(number).by_letter[letter].multiplicity == multiplicity


def test_every_position_has_as_many_images_as_the_table_says() -> None:
    for number in range(1, 231):
        group = space_group(number)
        for position in group.positions:
            rotations, offsets = group.orbit_affine(position.letter)
            assert len(rotations) == len(offsets) == position.multiplicity
            assert np.linalg.matrix_rank(position.rotation) == position.n_free


def test_operations_are_those_of_moyopy() -> None:
    import moyopy

    for number in range(1, 231):
        theirs = moyopy.operations_from_number(number, setting=moyopy.Setting.standard())
        group = space_group(number)

        def as_set(rotations, translations) -> set:
            return {
                (*np.ravel(r).astype(int).tolist(), *(np.rint(np.array(t) * 24) % 24).astype(int).tolist())
                for r, t in zip(rotations, translations)
            }

        assert as_set(group.rotations, group.translations) == as_set(theirs.rotations, theirs.translations)


def test_primitive_cells_are_as_much_smaller_as_the_centring_says() -> None:
    for number in range(1, 231):
        group = space_group(number)
        assert abs(np.linalg.det(group.primitive_transform)) * len(group.centring) == pytest.approx(1)
        assert group.is_lattice_vector(group.primitive_transform).all()


def test_a_number_that_is_no_space_group_is_refused_in_words() -> None:
    with pytest.raises(UserError, match="space group 231: expected a number from 1 to 230"):
        space_group(231)


def test_tied_coordinates_move_together() -> None:
    # Pyrite: S on 8c of Pa-3 (205) at (x, x, x); one parameter moves all eight sulphur atoms along their own diagonals.
    geometry = label_geometry(Label(205, (("Fe", "a"), ("S", "c"))))
    assert (geometry.n_atoms, geometry.n_free) == (12, 1)
    lattices, frac = geometry.decode_batch(
        np.array([[5.4, 5.4, 5.4, 90, 90, 90.0]] * 2), np.array([[0.385], [0.395]])
    )
    moved = np.abs(frac[1] - frac[0])
    assert moved[:4].max() == 0
    assert moved[4:] == pytest.approx(np.full((8, 3), 0.01))
    assert lattices[0] == pytest.approx(5.4 * np.eye(3))


@given(st.integers(1, 230), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_decoded_crystals_have_their_space_groups_operations(number: int, random) -> None:
    group = space_group(number)
    letter = random.choice([p.letter for p in group.positions])
    geometry = label_geometry(Label(number, (("Si", letter),)))
    free = np.array([random.random() for _ in range(geometry.n_free)])
    points = geometry.coord_matrix @ free + geometry.coord_offset
    for rotation, translation in zip(group.rotations, group.translations):
        for point in points:
            image = rotation @ point + translation
            assert group.is_lattice_vector(image - points, 1e-6).any()


@given(
    st.integers(1, 230),
    st.tuples(*[st.floats(3, 12)] * 3),
    st.tuples(*[st.floats(75, 105)] * 3),
)
@settings(max_examples=80, deadline=None)
def test_cells_survive_the_way_to_a_lattice_and_back(number: int, lengths: tuple, angles: tuple) -> None:
    cell = impose_crystal_system(np.array([*lengths, *angles]), number)
    assert cell_from_lattice(lattice_from_cell(cell)) == pytest.approx(cell, abs=1e-6)
    assert impose_crystal_system(cell, number) == pytest.approx(cell, abs=EXACT)
    assert cell_volume_ang3(scale_to_volume(cell, 100.0)) == pytest.approx(100.0)
    fixed = [i for i in range(3, 6) if i not in free_cell_indices(number)]
    assert all(cell[i] in (90.0, 120.0) for i in fixed)


@pytest.mark.parametrize(
    ("number", "lattice"),
    [(2, "aP"), (14, "mP"), (15, "mS"), (62, "oP"), (63, "oS"), (38, "oS"), (69, "oF"), (71, "oI")]
    + [(123, "tP"), (139, "tI"), (166, "hR"), (194, "hP"), (221, "cP"), (225, "cF"), (229, "cI")],
)
def test_bravais_lattices_have_their_pearson_letters(number: int, lattice: str) -> None:
    assert bravais_lattice(number) == lattice


def test_the_bravais_lattices_are_fourteen() -> None:
    assert len({bravais_lattice(n) for n in range(1, 231)}) == 14


def test_exchanges_are_permutations_within_one_kind_and_start_with_the_identity() -> None:
    for number in (2, 47, 62, 123, 166, 194, 216, 221, 225, 227):
        group = space_group(number)
        exchanges = letter_exchanges(number)
        assert all(k == v for k, v in exchanges[0].letters.items())
        for exchange in exchanges:
            assert sorted(exchange.letters.values()) == sorted(exchange.letters)
            for old, new in exchange.letters.items():
                a, b = group.by_letter[old], group.by_letter[new]
                assert (a.multiplicity, a.n_free) == (b.multiplicity, b.n_free)


def test_rock_salt_exchanges_its_two_sites() -> None:
    assert {x.letters["a"] for x in letter_exchanges(225)} == {"a", "b"}
