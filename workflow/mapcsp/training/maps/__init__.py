"""Trains and judges the map networks, the default one and those of AlphaCrystal and AlphaCrystal-II."""
