"""One-pass relaxation with uncertainty, a part of the relaxation stage: DeepRelax (Yang et al., arXiv:2404.00865)."""
