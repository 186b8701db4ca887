"""MLatticeABC (Li, Yang, Dong and Hu, ACS Omega 6, 11585, 2021): random forests for cell parameters."""
