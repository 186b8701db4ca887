from pathlib import Path

import pytest
from mapcsp.errors import StoreError
from mapcsp.store import write_csv
from mapcsp.training.curves import draw_curve


def test_a_curve_names_its_columns_and_gives_the_same_bytes_each_time(tmp_path: Path) -> None:
    table = tmp_path / "curve.csv"
    write_csv(table, ["phase", "epoch", "loss", "top1_held_out"], [["a", 1, 2.0, 0.5], ["b", 1, 1.5, 0.7]])
    pictures = []
    for name in ("one.svg", "two.svg"):
        draw_curve(table, tmp_path / name)
        pictures.append((tmp_path / name).read_bytes())
    assert pictures[0] == pictures[1]
    text = pictures[0].decode()
    assert text.lstrip().startswith("<?xml") and "top1 held out" in text and ">loss<" in text


def test_another_curve_gives_another_picture(tmp_path: Path) -> None:
    table, picture = tmp_path / "curve.csv", tmp_path / "curve.svg"
    seen = set()
    for last in (1.0, 1.9):
        write_csv(table, ["epoch", "loss"], [[1, 2.0], [2, 1.5], [3, last]])
        draw_curve(table, picture)
        seen.add(picture.read_bytes())
    assert len(seen) == 2


def test_a_table_without_figures_is_named(tmp_path: Path) -> None:
    write_csv(tmp_path / "curve.csv", ["epoch"], [[1]])
    with pytest.raises(StoreError, match=r"curve\.csv holds no training curve"):
        draw_curve(tmp_path / "curve.csv", tmp_path / "curve.svg")
