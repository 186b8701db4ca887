"""The final answer: relaxed candidates of a formula, without duplicates, the likeliest first."""

from mapcsp.ranking.fit import fit_coefficients
from mapcsp.ranking.model import CoefficientSet, RankerCoefficients, RankExample, load_ranker, save_ranker
from mapcsp.ranking.rank import rank_example, rank_formula, rank_pool
from mapcsp.ranking.run import run_rank

__all__ = [
    "CoefficientSet",
    "RankExample",
    "RankerCoefficients",
    "fit_coefficients",
    "load_ranker",
    "rank_example",
    "rank_formula",
    "rank_pool",
    "run_rank",
    "save_ranker",
]
