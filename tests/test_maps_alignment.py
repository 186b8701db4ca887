import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from known_maps import perovskite, wurtzite
from mapcsp.crystals import distance_matrix
from mapcsp.maps.alignment import align_atoms
from mapcsp.maps.distances import batch_distances

TOLERANCE_ANG = 1e-6


def shuffle_within(groups, rng):
    return np.lexsort((rng.random(len(groups)), groups))


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_alignment_finds_a_random_cell_again_after_atoms_were_exchanged(seed, n, n_elements):
    rng = np.random.default_rng(seed)
    groups = np.sort(rng.integers(0, n_elements, n))
    distance = batch_distances(np.diag(rng.uniform(3, 6, 3))[None], rng.random((1, n, 3)))[0][0]
    order = shuffle_within(groups, rng)
    moved = distance[np.ix_(order, order)]
    back = align_atoms(distance, moved, groups)
    assert np.abs(moved[np.ix_(back, back)] - distance).max() < TOLERANCE_ANG


def test_alignment_solves_symmetric_crystals():
    rng = np.random.default_rng(1)
    for crystal in (wurtzite("Zn", "S"), perovskite("Ca", "Ti", "O")):
        groups = np.unique(crystal.species, return_inverse=True)[1]
        distance = distance_matrix(crystal)
        order = np.lexsort((rng.random(len(groups)), groups))
        start = np.argsort(groups, kind="stable")
        reference, moved = distance[np.ix_(start, start)], distance[np.ix_(order, order)]
        back = align_atoms(reference, moved, np.sort(groups))
        assert np.abs(moved[np.ix_(back, back)] - reference).max() < TOLERANCE_ANG


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_alignment_never_mixes_elements_and_is_never_worse_than_the_given_order(seed):
    rng = np.random.default_rng(seed)
    groups = np.array([0, 0, 1, 1, 1, 2])
    first, second = batch_distances(np.eye(3)[None].repeat(2, 0) * 5, rng.random((2, 6, 3)))[0]
    order = align_atoms(first, second, groups)
    assert (groups[order] == groups).all() and sorted(order) == list(range(6))
    assert ((second[np.ix_(order, order)] - first) ** 2).sum() <= ((second - first) ** 2).sum() + 1e-9
