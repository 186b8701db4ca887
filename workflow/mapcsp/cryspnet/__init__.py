"""CRYSPNet (Liang, Stanev, Kusne and Takeuchi, Phys. Rev. Materials 4, 123802, 2020): Bravais lattice, space group, cell."""
