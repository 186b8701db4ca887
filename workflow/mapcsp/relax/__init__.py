"""Relaxation of candidates by machine-learned potentials, and energies whose zero is known."""
