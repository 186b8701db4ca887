"""The experiments of AlphaCrystal (contact maps) and AlphaCrystal-II (Table 5), each by its name, with the papers'
figures and the training of ours.

Data: the papers drew from the whole Materials Project (10,219 and 1,136 crystals; 18,776 crystals). Here
training crystals are drawn from the given tables and tested on tables that share no formula with them, which
is harder than a random split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Literal, TypeVar

import numpy as np

from mapcsp.symmetry.cells import crystal_system
from mapcsp.training.loop import LoopConfig
from mapcsp.training.maps.truth import MapTruth, contact_subset

Known = TypeVar("Known")
Subset = Literal["all", "cubic", "binary", "ternary", "contact"]


@dataclass(frozen=True)
class PaperTraining:
    """How the papers' network is trained: its widths and its loop.

    batch: crystals of one size in a batch. dropout: inside the blocks. element_noise: spread of the noise on the features of
    an element, the same for all its atoms in a crystal, in standard deviations over the elements: an element
    passes for a similar one. only_bondable: leave pairs that can never be in contact (two metals) out of the
    loss of contacts. length_weight: of a loss of distances beside that of contacts, by outputs that are cut off afterwards.
    """

    width_1d: int
    width_2d: int
    loop: LoopConfig
    batch: int = 32
    dropout: float = 0.0
    element_noise: float = 0.0
    only_bondable: bool = False
    length_weight: float = 0.0


def shortened(training: PaperTraining, epochs: int) -> PaperTraining:
    """The same training with another number of epochs."""
    return replace(training, loop=replace(training.loop, epochs=epochs))


TRAININGS: dict[str, PaperTraining] = {
    # The papers' own: for an accelerator.
    "paper": PaperTraining(32, 256, LoopConfig(epochs=125, learning_rate=1e-3)),
    "paper_contact": PaperTraining(32, 256, LoopConfig(epochs=125, learning_rate=1e-4)),
    # Same blocks and depth, a sixteenth of the 2D filters, fewer epochs with a falling learning rate: for one CPU core.
    "narrow": PaperTraining(
        32,
        16,
        LoopConfig(
            epochs=16,
            learning_rate=2e-3,
            optimiser="adamw",
            schedule="cosine",
            weight_decay=0.01,
            clip_norm=5.0,
        ),
    ),
    # An eighth of the 2D filters. Left alone it learns its 10,000 crystals by heart from the twelfth epoch on.
    "regular": PaperTraining(
        32,
        32,
        LoopConfig(
            epochs=48,
            learning_rate=2e-3,
            optimiser="adamw",
            schedule="cosine",
            weight_decay=0.05,
            ema_decay=0.999,
            clip_norm=5.0,
            precision="bfloat16",
        ),
        dropout=0.2,
        element_noise=0.3,
        only_bondable=True,
    ),
}
# With dropout .2, noise .3 and 22 epochs crystals held out of training were predicted worse (overlap .848 instead of .851).
TRAININGS["all_crystals"] = replace(
    shortened(TRAININGS["regular"], 40), dropout=0.15, element_noise=0.25, length_weight=0.3
)
"""Named settings of the papers' network: `paper` and `paper_contact` as published; `narrow`, `regular` (against learning by
heart) and `all_crystals` (for twice as many crystals, distances beside contacts) made for a CPU."""


@dataclass(frozen=True)
class PaperExperiment:
    """One row of a paper's table.

    n_groups: distance groups, or None for contact maps. n_train, n_test: crystals asked for, at most. subset: their kind;
    train_subset: that of the training crystals, if another. settings, epochs: the named training of the committed figures,
    and its epochs if not the setting's own. scramble: deal maps out anew among compositions of equal atom counts first.
    paper: what the paper reports, by the keys of metrics.json.
    """

    n_groups: int | None
    n_train: int
    n_test: int
    subset: Subset = "all"
    train_subset: Subset | None = None
    settings: str = "narrow"
    epochs: int | None = None
    scramble: bool = False
    paper: tuple[tuple[str, float], ...] = ()

    @property
    def learned_from(self) -> Subset:
        """Kind of the training crystals."""
        return self.train_subset or self.subset

    @property
    def training(self) -> PaperTraining:
        """How the network of the committed figures was trained."""
        named = TRAININGS[self.settings]
        return named if self.epochs is None else shortened(named, self.epochs)


def _paper(mse: float, rmse: float, overlap: float) -> tuple[tuple[str, float], ...]:
    return (("distance_mse_ang2", mse), ("distance_overlap", overlap), ("distance_rmse_ang", rmse))


_CONTACT = (("contact_accuracy", 0.927), ("contact_perfect", 461 / 1136))

EXPERIMENTS: dict[str, PaperExperiment] = {
    "groups5_1k": PaperExperiment(5, 1000, 100, epochs=10, paper=_paper(4.9538, 1.8841, 0.9045)),
    "groups5_10k": PaperExperiment(5, 10000, 1000, epochs=4, paper=_paper(2.3764, 1.2269, 0.9979)),
    "groups10_1k": PaperExperiment(10, 1000, 100, epochs=10, paper=_paper(2.8586, 1.3399, 0.9981)),
    "groups10_10k": PaperExperiment(10, 10000, 1000, epochs=4, paper=_paper(1.8932, 1.0984, 0.9989)),
    "groups20_10k": PaperExperiment(
        20, 10000, 1000, settings="regular", epochs=24, paper=_paper(1.5591, 0.9239, 0.9992)
    ),
    "groups10_cubic": PaperExperiment(10, 2638, 200, "cubic", epochs=6, paper=_paper(1.0125, 0.7394, 0.9746)),
    "groups10_binary": PaperExperiment(
        10, 4678, 400, "binary", epochs=4, paper=_paper(2.7835, 1.3109, 0.9980)
    ),
    "groups10_ternary": PaperExperiment(
        10, 9292, 1000, "ternary", epochs=4, paper=_paper(2.0832, 1.2779, 0.9985)
    ),
    "contact": PaperExperiment(None, 10219, 1136, "contact", settings="regular", paper=_CONTACT),
    "groups10_1k_scrambled": PaperExperiment(10, 1000, 100, epochs=10, scramble=True),
    "groups20_10k_scrambled": PaperExperiment(20, 10000, 1000, epochs=2, scramble=True),
    "contact_scrambled": PaperExperiment(
        None, 10219, 1136, "contact", settings="regular", epochs=12, scramble=True
    ),
    "contact_all": PaperExperiment(
        None, 100_000, 1136, "contact", "all", settings="all_crystals", paper=_CONTACT
    ),
    "contact_1k": PaperExperiment(None, 1000, 1136, "contact", settings="regular"),
    "contact_3k": PaperExperiment(None, 3200, 1136, "contact", settings="regular"),
}
"""Table 5 of AlphaCrystal-II row by row, AlphaCrystal's contact test, each kind with scrambled maps, the contact test with
fewer training crystals (its learning curve), and with all that there are, polymorphs and alloys too."""


def select(truths: Sequence[MapTruth], subset: Subset) -> list[MapTruth]:
    """Crystals of a subset; `contact`: lowest formation energy of each formula, no all-metal crystals."""
    if subset == "contact":
        return contact_subset(truths)
    if subset == "cubic":
        return [t for t in truths if t.space_group is not None and crystal_system(t.space_group) == "cubic"]
    n_elements = {"all": None, "binary": 2, "ternary": 3}[subset]
    return [t for t in truths if n_elements is None or len(t.elements) == n_elements]


def draw(crystals: Sequence[Known], n: int, seed: int) -> list[Known]:
    """Draw at most n crystals, each at most once; deterministic."""
    chosen = np.random.default_rng(seed).permutation(len(crystals))[:n]
    return [crystals[i] for i in np.sort(chosen)]


def describe(experiment: PaperExperiment, training: PaperTraining) -> dict:
    """Experiment and training as plain values, for metrics.json."""
    return {"experiment": asdict(experiment), "training": asdict(training)}
