"""Whether a formula with a common factor is a formula, such as `Na2O2`, or the content of a cell, such as `Ti2O4`.

Chemists, pymatgen and the Materials Project write molecules and ions that stay together with their true number of atoms.
Read as the content of a cell such a formula would forbid most crystals of its compound: Na2O2 has three formula units in its
cell. As a formula it allows its content, too, as z = 1. What is no such formula by the rules below is content; the list's
column `content` decides otherwise.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from math import gcd

from mapcsp.composition import formula_amounts

ALKALI = ("H", "Li", "Na", "K", "Rb", "Cs")
UNIVALENT = (*ALKALI, "Ag", "Tl", "Cu")
ORGANIC = frozenset(("C", "H", "N", "O", "F", "P", "S", "Cl", "Br", "I"))

# Molecules of one element. pymatgen writes H2, N2, O2, F2 and Cl2 so whatever their crystal.
ELEMENTS = "H2 N2 O2 F2 Cl2 Br2 I2 O3 P4 As4 S6 S8 S12 Se8 C60 C70"

# Salts of anions that are pairs or rings: `n` univalent ions for each. The first row are pymatgen's peroxides.
PEROXIDES = "O2 S2 S4 S6 Se2 Se4 Te2"
DIVALENT = "C2 N2O2 C2O4 C4O4 C2S4 S2O4 S2O6 S2O8"
TRIVALENT = "P3O9 B3O6 B3S6"
TETRAVALENT = "P2O6 P2S6 P2Se6 P4O12"

# Mercury is univalent in pairs alone: anions X of Hg2X2.
MERCUROUS = "F Cl Br I N3 NO3 ClO3 ClO4 BrO3 IO3 CNS CNO C2H3O2"

# Molecules without C-H, by family: carbon, nitrogen and sulphur, boron, silicon and germanium, phosphorus and arsenic,
# chalcogens and halogens, halides of metals, carbonyls.
MOLECULES = """
C2N2 C4N2 C2F2 C2F4 C2F6 C6F6 C2Cl2 C2Cl4 C2Cl6 C6Cl6 C2Br2 C2Br4 C2Br6 C2I2 C2I4 C3N3Cl3
N2O2 N2O4 N2H2 N2H4 N4H4 N2F2 N2F4 S2N2 S4N4 Se4N4 S4N4H4 P3N3F6 P3N3Cl6 P3N3Br6 P4N4F8 P4N4Cl8
B2H6 B4H10 B6H10 B10H14 B10H16 B18H22 B2F4 B2Cl4 B2Br4 B2I4 B4Cl4 B8Cl8 B9Cl9 B3N3H6 B3N3Cl6 B3N3H3Cl3 B3O3H3 B3O3F3 B3O3H6N3
Si2H6 Si2F6 Si2Cl6 Si2Br6 Si2I6 Ge2H6 Ge2Cl6
P2H4 P2F4 P2Cl4 P2Br4 P2I4 P4O6 P4O8 P4O10 P4S4 P4S6 P4S8 P4S10 P4Se4 P4Se10 P4O6S4
As2I4 As4O6 As4S4 As4S6 As4S10 As4Se4 Sb4O6
S2F2 S2F10 S2Cl2 S2Br2 S2I2 S3O9 Se2Cl2 Se2Br2 Se4O12 Te4Cl16 Te4Br16 Te4I16 I2Cl6 I2O4 Cl2O2 Cl2O4 Cl2O6
Al2Cl6 Al2Br6 Al2I6 Ga2H6 Ga2Cl6 Ga2Br6 Ga2I6 Ga2Cl4 Ga2Br4 Ga2I4 In2Cl6 In2Br6 In2I6 Fe2Cl6 Au2Cl6 Au2Br6 Au4Cl8
Mo6Cl12 Mo6Br12 W6Cl12 W6Br12 Pd6Cl12 Pt6Cl12 Re3Cl9 Re3Br9 Re3I9
Nb2Cl10 Nb2Br10 Ta2Cl10 Ta2Br10 Mo2Cl10 W2Cl10 Re2Cl10 Sb2Cl10 Pa2Cl10 U2Cl10 Nb4F20 Ta4F20 Mo4F20 W4F20 Sb4F20
Mn2C10O10 Tc2C10O10 Re2C10O10 Co2C8O8 Rh2C8O8 Fe3C12O12 Ru3C12O12 Os3C12O12 Co4C12O12 Rh4C12O12 Ir4C12O12 Rh6C16O16
"""

Composition = frozenset[tuple[str, int]]


def is_content(amounts: dict[str, int]) -> bool:
    """Whether a formula is read as the content of a cell where nothing else is said; amounts: as written, not reduced.

    Never so without a common factor, nor for organic molecules and the formulas of this module.
    """
    if gcd(*amounts.values()) == 1 or ({"C", "H"} <= amounts.keys() <= ORGANIC):
        return False
    return frozenset(amounts.items()) not in _formulas_with_factor()


@cache
def _formulas_with_factor() -> frozenset[Composition]:
    """All compositions that have a common factor by nature."""
    found = [formula_amounts(text) for text in (*ELEMENTS.split(), *MOLECULES.split())]
    found += [_salt({"Hg": 1}, 2, anion, 2) for anion in MERCUROUS.split()]
    for cations, anions, n in (
        (ALKALI, PEROXIDES, 2),
        (UNIVALENT, DIVALENT, 2),
        (UNIVALENT, TRIVALENT, 3),
        (UNIVALENT, TETRAVALENT, 4),
    ):
        ions = [*({symbol: 1} for symbol in cations), {"N": 1, "H": 4}]
        found += [_salt(ion, n, anion, 1) for ion in ions for anion in anions.split()]
    return frozenset(frozenset(amounts.items()) for amounts in found)


def _salt(cation: dict[str, int], n_cations: int, anion: str, n_anions: int) -> dict[str, int]:
    total = Counter({symbol: n * n_cations for symbol, n in cation.items()})
    total.update({symbol: n * n_anions for symbol, n in formula_amounts(anion).items()})
    return dict(total)
