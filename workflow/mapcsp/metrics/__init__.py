"""How good a prediction is: maps, symmetry, lattices, matches, calibration, distances between structures.

Every function says its definition, units and source. A value that does not apply is None, with a reason
where a record holds it; shares are fractions of 1. Modules are imported one by one, because some need heavy
libraries.
"""
