"""y-scrambling of the default map network: what it learns from maps dealt out at random is no skill.

AlphaCrystal shuffled the structures among the compositions and found that its network lost its power to predict. Here the
same short training is run twice, on the true maps and on scrambled ones; the inputs are the same in both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mapcsp.maps.models import MapModel
from mapcsp.training.maps.baselines import TemplateMaps
from mapcsp.training.maps.evaluate import judge, judge_label_given
from mapcsp.training.maps.pairs import MapTarget
from mapcsp.training.maps.train_default import RefinerTraining, train_refiner
from mapcsp.training.maps.truth import MapTruth

Figures = dict[str, dict[str, float]]


def compare_scrambled(
    targets: Sequence[MapTarget],
    held: Sequence[MapTarget],
    judged: Sequence[MapTarget],
    truths: Mapping[str, MapTruth],
    known: Sequence[MapTruth],
    config: RefinerTraining,
    folder: Path,
    keep_going: Callable[[], bool] | None = None,
) -> Figures | None:
    """Train on true and on scrambled maps and judge both with label and cell given, beside the mean map; None if keep_going
    ended it early.

    held: crystals that only the loss curves see. judged: crystals to predict, truths: their maps by material id.
    known: crystals that the mean map is of. Resumable; everything unfinished lies in the folder.
    """
    found: Figures = {}
    for name, scramble in (("true_maps", False), ("scrambled_maps", True)):
        network = train_refiner(targets, held, replace(config, scramble=scramble), folder / name, keep_going)
        if network is None:
            return None
        figures = judge_label_given(MapModel(name, "refiner", network.cpu().eval()), judged, truths)
        found[name] = {k.removesuffix("_label_given"): v for k, v in figures.items() if k != "n_label_given"}
    same = [truths[t.material_id] for t in judged if t.material_id in truths]
    mean = judge(same, TemplateMaps(known).mean_map)
    found["mean_map"] = {k: v for k, v in mean.items() if k in found["true_maps"]}
    return found
