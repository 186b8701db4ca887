"""Elemental features: the 11 properties of AlphaCrystal-II for each atom of a cell."""
