"""Canonical labels: one name for all labels that a change of origin or axes turns into each other."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import chain, groupby, pairwise, permutations, product

import numpy as np

from mapcsp.crystals import wrap
from mapcsp.records import Crystal, Label
from mapcsp.symmetry.cells import cell_from_lattice, impose_crystal_system, lattice_from_cell
from mapcsp.symmetry.geometry import EncodedCrystal, encode_crystal, encode_points, label_geometry
from mapcsp.symmetry.normaliser import LetterExchange, letter_exchanges
from mapcsp.symmetry.wyckoff import space_group


@dataclass(frozen=True)
class AnonymousLabel:
    """A label without its elements.

    roles: for each role (a kind of atom) the Wyckoff letters of its orbits, sorted; roles are sorted too.
    """

    space_group: int
    roles: tuple[str, ...]

    @property
    def key(self) -> str:
        """As text, such as `225:a|b`."""
        return f"{self.space_group}:" + "|".join(self.roles)

    @classmethod
    def from_key(cls, key: str) -> AnonymousLabel:
        """Inverse of `key`."""
        number, _, roles = key.partition(":")
        return cls(int(number), tuple(roles.split("|")))

    @property
    def counts(self) -> tuple[int, ...]:
        """Atoms of each role in the primitive cell."""
        by_letter = space_group(self.space_group).by_letter
        return tuple(sum(by_letter[w].multiplicity for w in letters) for letters in self.roles)

    def assign(self, elements: tuple[str, ...]) -> Label:
        """Put an element into each role; the label is canonical only if `anonymise` gives the roles back."""
        return Label(
            self.space_group,
            tuple(sorted((e, w) for e, letters in zip(elements, self.roles) for w in letters)),
        )


def renamed(label: Label, exchange: LetterExchange) -> tuple[tuple[str, str], ...]:
    """Orbits of a label, sorted, after a change of axes and origin."""
    return tuple(sorted((e, exchange.letters[w]) for e, w in label.orbits))


@lru_cache(maxsize=200_000)
def anonymise(label: Label) -> tuple[AnonymousLabel, tuple[str, ...]]:
    """Split a label into its canonical form without elements, and the element of each role.

    Where symmetry lets several assignments describe the same label, the one that sorts first is taken.
    """
    letters: dict[str, str] = {}
    for element, letter in label.orbits:
        letters[element] = letters.get(element, "") + letter
    roles = sorted(("".join(sorted(w)), e) for e, w in letters.items())
    least, orders = _least_roles(label.space_group, tuple(w for w, _ in roles))
    return AnonymousLabel(label.space_group, least), min(
        tuple(roles[i][1] for i in order) for order in orders
    )


@lru_cache(maxsize=200_000)
def _least_roles(number: int, roles: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """The least form of sorted roles under all exchanges, and every order of the old roles that gives it.

    Elements do not matter here, so that compositions with one pattern of letters share the work.
    """
    best: tuple[str, ...] | None = None
    orders: set[tuple[int, ...]] = set()
    # Most exchanges do the same to the few letters of a label: each outcome is looked at once.
    for images in set(zip(*(_role_images(number, w) for w in roles))):
        order = sorted(range(len(images)), key=images.__getitem__)
        found = tuple(images[i] for i in order)
        if best is None or found < best:
            best, orders = found, set()
        if found == best:
            orders.update(_equal_orders(images, order))
    assert best is not None
    return best, tuple(sorted(orders))


def _equal_orders(images: tuple[str, ...], order: list[int]) -> list[tuple[int, ...]]:
    """All orders that sort `images`: equal images may stand in any order among themselves."""
    groups = [list(g) for _, g in groupby(order, key=images.__getitem__)]
    return [tuple(chain.from_iterable(choice)) for choice in product(*(permutations(g) for g in groups))]


@lru_cache(maxsize=100_000)
def _role_images(number: int, letters: str) -> tuple[str, ...]:
    """The letters of a role after each exchange of the space group, sorted."""
    return tuple("".join(sorted(letters.translate(table))) for table in _translations(number))


@cache
def _translations(number: int) -> tuple[dict[int, str], ...]:
    """The distinct exchanges of letters of a space group, as tables of str.translate."""
    distinct = {tuple(sorted(x.letters.items())): None for x in letter_exchanges(number)}
    return tuple(str.maketrans(dict(letters)) for letters in distinct)


def canonical_label(label: Label) -> Label:
    """The one name of all labels equivalent to this one (elements kept)."""
    anonymous, elements = anonymise(label)
    return anonymous.assign(elements)


def role_free_order(label: Label, elements: tuple[str, ...]) -> np.ndarray:
    """Order (f,) that brings a canonical label's free coordinates from its own order of orbits to that of its roles."""
    by_letter = space_group(label.space_group).by_letter
    starts = np.cumsum([0, *(by_letter[w].n_free for _, w in label.orbits)])
    indices = [np.arange(a, b) for a, b in pairwise(starts)]
    parts = [index for role in elements for (e, _), index in zip(label.orbits, indices) if e == role]
    return np.concatenate(parts).astype(int)


def canonicalise(encoded: EncodedCrystal) -> EncodedCrystal:
    """Express an encoded crystal in the axes and origin of its canonical label.

    Among exchanges that give the same label, the one with ascending cell lengths is taken.
    """
    target = canonical_label(encoded.label)
    number = encoded.label.space_group
    lattice = lattice_from_cell(encoded.cell)
    candidates = []
    for index, exchange in enumerate(letter_exchanges(number)):
        if renamed(encoded.label, exchange) == target.orbits:
            cell = cell_from_lattice(exchange.apply_to_lattice(lattice))
            candidates.append((tuple(np.round(cell[:3], 4)), index, exchange, cell))
    _, _, exchange, cell = min(candidates, key=lambda c: (c[0], c[1]))
    geometry = label_geometry(encoded.label)
    points = np.einsum("nxf,f->nx", geometry.coord_matrix, encoded.free_coords) + geometry.coord_offset
    letters = tuple(exchange.letters[encoded.label.orbits[o][1]] for o in geometry.orbit_of_atom)
    label, free_coords = encode_points(
        number, geometry.species, letters, wrap(exchange.apply_to_points(points))
    )
    if label != target:
        raise ValueError(f"{encoded.label.key} became {label.key}, expected {target.key}")
    return EncodedCrystal(label, encoded.z, impose_crystal_system(cell, number), free_coords)


def encode_canonical(crystal: Crystal, symprec_ang: float = 0.1) -> EncodedCrystal:
    """Find a crystal's canonical label, cell and free coordinates; raises ValueError as `encode_crystal` does."""
    return canonicalise(encode_crystal(crystal, symprec_ang))
