"""mapcsp predicts crystal structures from formulas alone."""

__version__ = "0.1.0"
