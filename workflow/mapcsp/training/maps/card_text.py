"""What the cards of the map networks say in words, and which figures stand in their tables."""

from __future__ import annotations

ABOUT = {
    "maps": (
        "Default map network: corrects the distances of a label's likely geometry",
        "A network over pairs of atoms (attention over atoms, exchange over triangles). It is given a"
        " symmetry label, a cell and, where known, a geometry of the label, and predicts for each pair of"
        " atoms an expected distance, its spread and the probability of a contact. Trained on pairs of"
        " crystals with one label; atoms of one element were aligned once beforehand, so that no order of"
        " atoms is learned.",
    ),
    "alphacrystal": (
        "AlphaCrystal's contact map network",
        "The residual network of AlphaCrystal (nine 1D and nine 2D blocks), trained on contact maps."
        " Departures from the paper: the 2D filters are narrower where the settings below say so, padding is"
        " masked, maps are symmetric, features are scaled, and the training settings below are ours (dropout,"
        " noise on the elements' features, pairs of two metals left out of the loss, distances learned beside"
        " contacts).",
    ),
    "alphacrystal2": (
        "AlphaCrystal-II's distance map network",
        "The residual network of AlphaCrystal-II (nine 1D and nine 2D blocks), trained on distances in"
        " equal-width groups. Departures from the paper: the 2D filters are narrower where the settings below"
        " say so, padding is masked, maps are symmetric, features are scaled, and the training settings below"
        " are ours (dropout, noise on the elements' features).",
    ),
}
DATA = (
    "Training crystals: Materials Project slices (MP-20, MPTS-52) and WBM, at most 24 atoms (papers'"
    " networks: 12). The papers drew training and test crystals at random from the whole Materials Project;"
    " here no reduced formula of the test crystals occurs in training, polymorphs included. Sources and"
    " licence: Materials Project (Jain et al. 2013), CC BY 4.0; MP-20 split: Xie et al., arXiv 2110.06197;"
    " MPTS-52: Baird and Sparks, doi 10.6084/m9.figshare.19991516; WBM: Wang, Botti, Marques, npj Comput."
    " Mater. 7, 12 (2021), CC BY 4.0."
)
MEANING = (
    "Distances: over pairs of different atoms, minimum image, root mean square per crystal, then the mean"
    " over crystals. Overlap: share of pairs below 8 Å predicted below 8 Å. Contacts: on the crystals of"
    " AlphaCrystal's test (lowest formation energy of each formula, not all-metal), Dice overlap and share of"
    " perfect maps. Plain keys compare row by row, atoms grouped by element in the order of the table; atoms"
    " of one element have no order, so that even the true map with its rows shuffled scores badly"
    " (`baseline_true_map_shuffled_…`). Aligned keys exchange atoms of one element to fit best."
)
DECODED = (
    "RMSE: distances decoded as in the paper, each the middle of its likeliest group; by means: each the mean"
    " over groups instead."
)
COLUMNS = (
    ("distance_rmse_ang", "RMSE / Å"),
    ("distance_rmse_aligned_ang", "aligned / Å"),
    ("distance_overlap", "overlap"),
    ("contact_accuracy", "Dice"),
    ("contact_accuracy_aligned", "aligned"),
    ("contact_perfect", "perfect"),
    ("contact_perfect_aligned", "aligned"),
)
EXPERIMENT_COLUMNS = (
    ("crystals_trained", "trained"),
    ("epochs", "epochs"),
    ("crystals", "tested"),
    ("distance_rmse_ang", "RMSE / Å"),
    ("distance_rmse_ang_expected", "by means"),
    ("paper_distance_rmse_ang", "paper"),
    ("baseline_nearest_distance_rmse_ang", "nearest"),
    ("baseline_mean_map_distance_rmse_ang", "mean map"),
    ("distance_overlap", "overlap"),
    ("paper_distance_overlap", "paper"),
    ("contact_accuracy", "Dice"),
    ("paper_contact_accuracy", "paper"),
    ("baseline_nearest_contact_accuracy", "nearest"),
    ("contact_perfect", "perfect"),
    ("paper_contact_perfect", "paper"),
)
LINES = (
    ("", "this network"),
    ("baseline_nearest_", "nearest training crystal, elements replaced"),
    ("baseline_mean_map_", "mean map of the same atom counts"),
    ("baseline_true_map_likely_rows_", "true map, rows as the nearest crystal of its label lists them"),
    ("baseline_true_map_alike_", "best map that treats the atoms of an element alike"),
    ("baseline_true_map_shuffled_", "true map, rows shuffled within elements"),
)

BARS = {
    "alphacrystal": (
        "A mean Dice overlap of 0.88 was aimed at. It is {contact_accuracy} with contacts cut at"
        " {contact_threshold}, the cut with the highest overlap on formulas held out of training (the paper names"
        " none), and {contact_accuracy_cut_at_half} cut at one half. The network knows neither the symmetry nor"
        " which atom of an element comes first: such atoms have the same features and differ by their rows alone. A"
        " map that treats them alike overlaps with the true ones by {baseline_true_map_alike_contact_accuracy} at"
        " most, and is perfect for {baseline_true_map_alike_contact_perfect} of the crystals, even where every"
        " structure is known; {contact_alike} of the network's maps are of that kind. The true map with such atoms"
        " shuffled scores {baseline_true_map_shuffled_contact_accuracy}, the nearest training crystal"
        " {baseline_nearest_contact_accuracy}.",
        "Learning curve: {contact_1k_contact_accuracy} from {contact_1k_crystals_trained} training crystals,"
        " {contact_3k_contact_accuracy} from {contact_3k_crystals_trained}, {contact_contact_accuracy} from"
        " {contact_crystals_trained}, the paper's number. All {crystals_trained} crystals, polymorphs and alloys"
        " too, with distances learned beside contacts (`contact_all`), give {contact_accuracy}: the network shipped"
        " here.",
        "Trained on maps dealt out anew among crystals of equal atom counts (`contact_scrambled`), it scores"
        " {contact_scrambled_contact_accuracy} at its own cut of {contact_scrambled_contact_threshold}, and"
        " {contact_scrambled_contact_accuracy_cut_at_half} cut at one half: much of the overlap comes from the atom"
        " counts and from which elements can bond.",
    ),
    "maps": (
        "A mean Dice overlap of 0.92 and 60 % perfect maps were aimed at. Row by row, of the likeliest labels'"
        " maps in their likeliest orders of rows the one with the highest expected sum of both is chosen:"
        " {contact_accuracy} and {contact_perfect}. The true map itself, in the order in which the nearest training"
        " crystal of its label lists its atoms, scores {baseline_true_map_likely_rows_contact_accuracy} and"
        " {baseline_true_map_likely_rows_contact_perfect}: what is missing to 1 there is an order, not a structure."
        " The map of the likeliest label scores {oracle_order_contact_accuracy} if the true map may choose among"
        " its likely orders. Aligned, the network has {contact_accuracy_aligned} and {contact_perfect_aligned}.",
        "An overlap of distances of at least 0.999 was aimed at. It is {distance_overlap}: a pair is put beyond 8"
        " Å only where its chance to lie within is below 5 %. The true map in that order has"
        " {baseline_true_map_likely_rows_distance_overlap}, and the mean map, which is never that far, 1.",
    ),
}
"""What is said about bars, filled from figures; a text without one of its figures is left out."""
