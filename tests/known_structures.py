"""The known crystals of the shipped formula list, from lattice constants in the literature, by id."""

from __future__ import annotations

from mapcsp.crystals import from_structure
from mapcsp.records import Crystal
from pymatgen.core import Lattice, Structure


def primitive(space_group: str, lattice: Lattice, sites: dict[str, list[list[float]]]) -> Crystal:
    species = [symbol for symbol, points in sites.items() for _ in points]
    points = [point for listed in sites.values() for point in listed]
    structure = Structure.from_spacegroup(space_group, lattice, species, points)
    return from_structure(structure.get_primitive_structure())


def rock_salt() -> Crystal:
    """Halite NaCl: Swanson and Fuyat, NBS Circular 539, vol. 2, 41 (1953)."""
    return primitive("Fm-3m", Lattice.cubic(5.6402), {"Na": [[0, 0, 0]], "Cl": [[0.5, 0.5, 0.5]]})


def fluorite() -> Crystal:
    """Fluorite CaF2: Swanson and Tatge, NBS Circular 539, vol. 1, 69 (1953)."""
    return primitive("Fm-3m", Lattice.cubic(5.4626), {"Ca": [[0, 0, 0]], "F": [[0.25, 0.25, 0.25]]})


def layered_licoo2() -> Crystal:
    """Layered LiCoO2: Orman and Wiseman, Acta Cryst. C 40, 12 (1984)."""
    sites = {"Li": [[0, 0, 0]], "Co": [[0, 0, 0.5]], "O": [[0, 0, 0.2395]]}
    return primitive("R-3m", Lattice.hexagonal(2.8161, 14.0536), sites)


def perovskite() -> Crystal:
    """Cubic SrTiO3: Swanson and Fuyat, NBS Circular 539, vol. 3, 44 (1954)."""
    sites = {"Sr": [[0, 0, 0]], "Ti": [[0.5, 0.5, 0.5]], "O": [[0, 0.5, 0.5]]}
    return primitive("Pm-3m", Lattice.cubic(3.905), sites)


def rutile() -> Crystal:
    """Rutile TiO2: Abrahams and Bernstein, J. Chem. Phys. 55, 3206 (1971)."""
    sites = {"Ti": [[0, 0, 0]], "O": [[0.3048, 0.3048, 0]]}
    return primitive("P4_2/mnm", Lattice.tetragonal(4.5937, 2.9587), sites)


def zinc_blende() -> Crystal:
    """Sphalerite ZnS: Skinner, Am. Mineral. 46, 1399 (1961)."""
    return primitive("F-43m", Lattice.cubic(5.4093), {"Zn": [[0, 0, 0]], "S": [[0.25, 0.25, 0.25]]})


def magnesium_diboride() -> Crystal:
    """MgB2: Nagamatsu et al., Nature 410, 63 (2001)."""
    sites = {"Mg": [[0, 0, 0]], "B": [[1 / 3, 2 / 3, 0.5]]}
    return primitive("P6/mmm", Lattice.hexagonal(3.086, 3.524), sites)


def kesterite() -> Crystal:
    """Kesterite Cu2ZnSnS4: Hall, Szymanski and Stewart, Can. Mineral. 16, 131 (1978)."""
    sites = {
        "Cu": [[0, 0, 0], [0, 0.5, 0.25]],
        "Zn": [[0, 0.5, 0.75]],
        "Sn": [[0, 0, 0.5]],
        "S": [[0.756, 0.7566, 0.8722]],
    }
    return primitive("I-4", Lattice.tetragonal(5.427, 10.871), sites)


KNOWN = {
    "NaCl": rock_salt,
    "CaF2": fluorite,
    "LiCoO2": layered_licoo2,
    "SrTiO3_z1": perovskite,
    "rutile": rutile,
    "ZnS_sg216": zinc_blende,
    "MgB2_sg191": magnesium_diboride,
    "kesterite": kesterite,
}
SPACE_GROUPS = {
    "NaCl": 225,
    "CaF2": 225,
    "LiCoO2": 166,
    "SrTiO3_z1": 221,
    "rutile": 136,
    "ZnS_sg216": 216,
    "MgB2_sg191": 191,
    "kesterite": 82,
}
