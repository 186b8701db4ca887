import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_structures import KNOWN
from mapcsp.crystals import distance_matrix
from mapcsp.records import Crystal, Label
from mapcsp.symmetry.geometry import encode_crystal, label_geometry
from mapcsp.symmetry.labels import AnonymousLabel, anonymise, canonical_label, encode_canonical
from mapcsp.symmetry.normaliser import letter_exchanges

CRYSTALS = sorted(KNOWN)


def changed_cell(crystal: Crystal, random) -> Crystal:
    """The same crystal with another origin, other lattice vectors and another order of atoms."""
    matrix = np.eye(3, dtype=int)
    for _ in range(4):
        i, j = random.sample(range(3), 2)
        matrix[i] += random.choice([-1, 1]) * matrix[j]
    shift = np.array([random.random() for _ in range(3)])
    frac = np.mod((crystal.frac_coords + shift) @ np.linalg.inv(matrix), 1.0)
    order = random.sample(range(crystal.n_atoms), crystal.n_atoms)
    return Crystal(matrix @ crystal.lattice_ang, tuple(crystal.species[i] for i in order), frac[order])


def sorted_distances(crystal: Crystal) -> np.ndarray:
    return np.sort(distance_matrix(crystal).ravel())


@pytest.mark.parametrize("name", CRYSTALS)
@given(random=st.randoms(use_true_random=False))
@settings(max_examples=8, deadline=None)
def test_the_label_does_not_depend_on_origin_axes_or_order(name: str, random) -> None:
    crystal = KNOWN[name]()
    assert encode_canonical(changed_cell(crystal, random)).label == encode_canonical(crystal).label


@pytest.mark.parametrize("name", CRYSTALS)
def test_decoding_an_encoded_crystal_gives_it_back(name: str) -> None:
    crystal = KNOWN[name]()
    for encoded in (encode_crystal(crystal, 1e-3), encode_canonical(crystal, 1e-3)):
        decoded = label_geometry(encoded.label).decode(encoded.cell, encoded.free_coords)
        assert sorted(decoded.species) == sorted(crystal.species)
        assert sorted_distances(decoded) == pytest.approx(sorted_distances(crystal), abs=1e-3)


def test_equivalent_labels_share_one_name() -> None:
    assert canonical_label(Label(225, (("Cl", "b"), ("Na", "a")))) == canonical_label(
        Label(225, (("Cl", "a"), ("Na", "b")))
    )
    # Perovskite with its A atom at the corner or in the middle.
    assert canonical_label(Label(221, (("O", "c"), ("Sr", "a"), ("Ti", "b")))) == canonical_label(
        Label(221, (("O", "d"), ("Sr", "b"), ("Ti", "a")))
    )


def test_different_crystals_keep_different_names() -> None:
    # Perovskite and its anti-form: Sr and Ti change roles, and O sits around the other one.
    perovskite = canonical_label(Label(221, (("O", "c"), ("Sr", "a"), ("Ti", "b"))))
    swapped = canonical_label(Label(221, (("O", "c"), ("Sr", "b"), ("Ti", "a"))))
    assert perovskite != swapped


@given(st.sampled_from([2, 12, 47, 62, 123, 139, 166, 194, 216, 225]), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_every_exchange_leaves_the_canonical_label_alone(number: int, random) -> None:
    exchanges = letter_exchanges(number)
    letters = list(exchanges[0].letters)
    orbits = tuple(sorted((e, random.choice(letters)) for e in ("A", "B", "B", "C")))
    exchange = random.choice(exchanges)
    renamed = tuple(sorted((e, exchange.letters[w]) for e, w in orbits))
    assert canonical_label(Label(number, orbits)) == canonical_label(Label(number, renamed))


def test_an_anonymous_label_knows_its_counts_and_survives_as_text() -> None:
    anonymous, elements = anonymise(Label(136, (("O", "f"), ("Ti", "a"))))
    assert anonymous.counts == tuple({"O": 4, "Ti": 2}[e] for e in elements)
    assert AnonymousLabel.from_key(anonymous.key) == anonymous
    assert anonymous.assign(elements) == canonical_label(Label(136, (("O", "f"), ("Ti", "a"))))
