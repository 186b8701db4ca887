"""The benchmark: crystals with known structures, predicted from their formulas by the stages themselves, and judged."""
