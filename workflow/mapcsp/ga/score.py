"""The score by which candidates are kept: in a search with many labels, and in the pool of a formula."""

from __future__ import annotations

# What a label's second candidate costs against its first, in nats, and each further one; what one unit of fitness is worth.
# They were fitted on 100 formulas of mp_val, and hardly matter: on 80 training formulas that no network was trained on the
# true crystal is among 20 for 0.912 with these, with costs of 1 and 0.6 or 5 and 1.2, with a fitness worth 0 or 1, with
# one candidate a label, and with 30 places.
SECOND_CANDIDATE_COST = 3.0
FURTHER_CANDIDATE_COST = 1.2
FITNESS_VALUE = 0.3


def candidate_score(label_log_prob: float, position: int, fitness: float) -> float:
    """Score by which candidates are kept: roughly ln of the odds that this candidate is the crystal asked for.

    label_log_prob: natural log of P(label, z | formula). position: among the candidates of its label, from 0. fitness: its
    total. Sorting by it deals the places of a pool round the labels, the likely ones more often.
    """
    cost = 0.0 if position == 0 else SECOND_CANDIDATE_COST + FURTHER_CANDIDATE_COST * (position - 1)
    return label_log_prob - cost + FITNESS_VALUE * fitness
