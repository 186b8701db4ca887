import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_maps import cubic, rock_salt
from mapcsp.crystals import distance_matrix
from mapcsp.elements import covalent_radius_ang
from mapcsp.maps.distances import batch_distances
from mapcsp.maps.labels import DistanceGroups, bond_lengths_ang, can_bond, contact_map, map_labels
from mapcsp.records import Crystal

TOLERANCE_ANG = 1e-8


@given(st.integers(0, 10**6), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_batch_distances_agree_with_distances_one_by_one(seed, n):
    rng = np.random.default_rng(seed)
    lattices = rng.normal(size=(3, 3, 3)) * 3 + np.eye(3) * 4
    lattices = lattices[np.abs(np.linalg.det(lattices)) > 5]
    fracs = rng.random((len(lattices), n, 3)) * 4 - 2
    found, shortest = batch_distances(lattices, fracs)
    for lattice, frac, distance, vector in zip(lattices, fracs, found, shortest):
        crystal = Crystal(lattice, ("H",) * n, np.mod(frac, 1))
        assert np.abs(distance - distance_matrix(crystal)).max() < TOLERANCE_ANG
        images = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3), -1).reshape(-1, 3)
        lengths = np.linalg.norm(images[np.abs(images).sum(1) > 0] @ lattice, axis=1)
        assert vector <= lengths.min() + TOLERANCE_ANG


def test_distances_of_rock_salt_are_half_the_cube_edge():
    labels = map_labels(rock_salt("Na", "Cl"))
    edge = 2 * (covalent_radius_ang("Na") + covalent_radius_ang("Cl"))
    assert labels.distance_ang == pytest.approx(np.array([[0, edge / 2], [edge / 2, 0]]))
    assert labels.contact.tolist() == [[False, True], [True, False]]


def test_contacts_lie_within_the_window_around_the_bond_length():
    bond = covalent_radius_ang("Na") + covalent_radius_ang("Cl")
    for excess, expected in ((-0.41, False), (-0.4, True), (0.0, True), (0.4, True), (0.41, False)):
        distance = np.array([[0, bond + excess], [bond + excess, 0]])
        assert contact_map(("Na", "Cl"), distance)[0, 1] == expected, excess


def test_two_metals_are_never_in_contact():
    distance = bond_lengths_ang(("Cu", "Zn", "S"))
    assert contact_map(("Cu", "Zn", "S"), distance).tolist() == [
        [False, False, True],
        [False, False, True],
        [True, True, False],
    ]
    assert not can_bond(("Cu", "Zn")).any()


def test_contacts_use_the_nearest_image():
    bond = covalent_radius_ang("C") + covalent_radius_ang("O")
    crystal = cubic(6.0, ("C", "O"), [[0.01, 0, 0], [1.01 - bond / 6.0, 0, 0]])
    assert map_labels(crystal).contact[0, 1]


@given(st.integers(2, 40), st.floats(0.5, 3), st.floats(4, 30))
def test_groups_have_equal_width_and_hold_their_centres(n, low, high):
    groups = DistanceGroups(n, low, high)
    assert (groups.assign(groups.centres_ang) == np.arange(n)).all()
    assert np.diff(groups.centres_ang) == pytest.approx(groups.width_ang)
    assert groups.assign(np.array([low - 1, high + 1])).tolist() == [0, n - 1]


def test_twenty_groups_of_the_paper_are_1_12_ang_wide():
    assert DistanceGroups(20, 0.9488, 23.3361).width_ang == pytest.approx(1.119365)
