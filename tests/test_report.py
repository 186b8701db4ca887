"""The report stage: one page that holds everything, is safe, reads well and works offline."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import known_pools as known
import numpy as np
import pytest
from mapcsp.errors import UserError
from mapcsp.ranking import run_rank
from mapcsp.records import CandidatePool, CandidateSummary, FormulaMaps, PredictedMap, RelaxedPool
from mapcsp.report import run_report
from mapcsp.report.notation import formula_html, number, percent, space_group_html
from mapcsp.report.plots import Axis, energy_volume_svg, heat_map_svg
from mapcsp.report.view3d import element_colours, scene
from mapcsp.settings import RankingSettings, ReportSettings
from mapcsp.store import write_csv, write_json, write_maps, write_records
from pymatgen.core import Lattice, Structure

VOID = {"meta", "input", "br", "img", "link", "hr"}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def salt_map() -> FormulaMaps:
    crystal = known.rocksalt()
    distance = np.array([[0.0, 2.9], [2.9, 0.0]])
    contact = np.array([[0.0, 0.9], [0.9, 0.0]])
    prediction = PredictedMap(
        1, known.ROCKSALT.key, crystal.species, distance, np.array([[0.0, 0.2], [0.2, 0.0]]), contact
    )
    return FormulaMaps("NaCl", (prediction,))


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    write_json(folder / "intake" / "index.json", {"ids": known.IDS})
    accepted = [(2, "NaCl", "NaCl"), (3, "SrTiO3", "SrTiO3"), (5, "XeF2", "XeF2")]
    write_csv(folder / "intake" / "accepted.csv", ("line", "id", "formula"), accepted)
    rejected = [(4, "<script>alert(1)</script>", "not a formula")]
    write_csv(folder / "intake" / "rejected.csv", ("line", "content", "reason"), rejected)
    pools = [known.salt_pool(), known.oxide_pool(), known.empty_pool()]
    write_records(folder / "pools.jsonl", CandidatePool, known.candidate_pools())
    write_records(folder / "relaxed.jsonl", RelaxedPool, pools)
    write_json(folder / "settings" / "ranking.json", RankingSettings().model_dump(mode="json"))
    write_json(folder / "settings" / "report.json", ReportSettings(title="Salt & co").model_dump(mode="json"))
    write_maps(folder / "maps" / "NaCl.safetensors", salt_map())
    run_rank(
        [folder / "relaxed.jsonl"],
        [folder / "pools.jsonl"],
        folder / "intake" / "index.json",
        folder / "settings" / "ranking.json",
        folder / "ranking",
    )
    return folder


def write_page(folder: Path, output: Path) -> str:
    maps = [folder / "maps" / "NaCl.safetensors"]
    run_report(folder / "ranking", folder / "intake", folder / "settings" / "report.json", output, maps)
    return output.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(run_folder) -> str:
    return write_page(run_folder, run_folder / "report" / "index.html")


class Elements(HTMLParser):
    """Collects elements with their attributes, and checks that tags are closed in order."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.found if name == tag]


def test_the_page_is_well_formed_and_its_ids_are_unique(page):
    ids = [attrs["id"] for _, attrs in Elements(page).found if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [a["href"][1:] for a in Elements(page).of("a") if (a["href"] or "").startswith("#")]
    assert links and set(links) <= set(ids)


def test_the_page_needs_nothing_from_elsewhere(page):
    assert not re.search(r"(src|href)=\"(?!#|data:)", page)
    assert "http://" not in page and "https://" not in page and "@import" not in page


def test_the_summary_counts_formulas(page):
    tiles = re.search(r'<ul class="tiles".*?</ul>', page, re.S).group(0)
    assert re.findall(r"<b>(\d+)</b> ([a-z ]+)", tiles) == [
        ("4", "formulas in"),
        ("1", "rejected"),
        ("2", "predicted"),
        ("1", "failed"),
        ("7", "candidates relaxed"),
    ]


def test_what_users_wrote_is_escaped(page):
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "Salt &amp; co" in page


def test_failed_and_rejected_rows_show_their_reasons(page):
    assert "all searches ended without a valid crystal" in page
    assert "not a formula" in page


def test_every_structure_has_a_picture_with_text_and_three_downloads(page):
    elements = Elements(page)
    canvases = elements.of("canvas")
    assert len(canvases) == 4
    assert all(
        c["role"] == "img" and c["tabindex"] == "0" and "space group" in c["aria-label"] for c in canvases
    )
    names = [a["download"] for a in elements.of("a") if "download" in a]
    assert names[:3] == ["NaCl_1.cif", "NaCl_1.vasp", "NaCl_1.json"] and len(names) == 12


def test_downloads_hold_the_crystal_in_each_format(page):
    uris = {a["download"]: a["href"] for a in Elements(page).of("a") if "download" in a}
    content = {name: base64.b64decode(uri.partition("base64,")[2]).decode() for name, uri in uris.items()}
    cif = Structure.from_str(content["NaCl_1.cif"], fmt="cif")
    poscar = Structure.from_str(content["NaCl_1.vasp"], fmt="poscar")
    as_json = Structure.from_dict(json.loads(content["NaCl_1.json"]))
    for structure in (cif, poscar, as_json):
        assert structure.composition.formula == "Na4 Cl4"
        assert structure.lattice.a == pytest.approx(5.64, abs=1e-4)


def test_every_control_has_a_label_and_every_plot_a_title(page):
    elements = Elements(page)
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in elements.of("svg"))
    assert len(elements.of("th")) == len(re.findall(r'<th scope="col"', page))
    assert len(re.findall(r"<label>[^<]+<(?:input|select)", page)) == len(elements.of("select")) + 1


def test_provenance_names_versions_settings_and_hashes(page):
    assert "pymatgen" in page and "symprec_ang" in page and "m3gnet" in page
    assert re.search(r"ranker</dt><dd><code>[0-9a-f]{64}", page)


def test_predicted_maps_stand_beside_the_structure_they_belong_to(page):
    assert page.count("predicted contacts</figcaption>") == 1
    # Rock salt of 5.64 Å has neighbours at 2.82 Å; the map said 2.9 Å.
    assert "root mean square difference 0.08\N{NO-BREAK SPACE}Å" in page


def test_the_same_ranking_gives_the_same_page(run_folder, page, tmp_path):
    assert write_page(run_folder, tmp_path / "again.html") == page


def test_many_formulas_get_pages_of_their_own_and_stale_ones_go(run_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("mapcsp.report.run.FORMULAS_ON_ONE_PAGE", 1)
    stale = tmp_path / "formulas" / "00" / "Old.html"
    stale.parent.mkdir(parents=True)
    stale.write_text("old")
    index = write_page(run_folder, tmp_path / "index.html")
    assert "<canvas" not in index and not stale.exists()
    links = sorted({a["href"] for a in Elements(index).of("a") if a["href"].startswith("formulas/")})
    assert [Path(link).name for link in links] == ["NaCl.html", "SrTiO3.html"] or len(links) == 2
    for link in links:
        assert len(Elements((tmp_path / link).read_text()).of("canvas")) in (1, 3)


def test_a_missing_ranking_is_named(run_folder, tmp_path):
    with pytest.raises(UserError, match="outcomes.jsonl does not exist"):
        run_report(
            tmp_path, run_folder / "intake", run_folder / "settings" / "report.json", tmp_path / "x.html"
        )


def test_the_scene_of_rock_salt_has_its_corners_and_its_octahedra():
    sites = [[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    shifted = [[x + 0.5, y, z] for x, y, z in sites]
    cell = Structure(Lattice.cubic(5.64), ["Na"] * 4 + ["Cl"] * 4, sites + shifted)
    drawn = scene(cell)
    assert [e["symbol"] for e in drawn["elements"]] == ["Cl", "Na"]
    assert len(drawn["atoms"]) == 27
    # A 3 x 3 x 3 block of points has 54 nearest-neighbour pairs, all of them Na-Cl.
    assert len(drawn["bonds"]) == 54
    assert all(drawn["atoms"][i][3] != drawn["atoms"][j][3] for i, j in drawn["bonds"])


def test_metal_pairs_bond_only_in_metals():
    iron = Structure(Lattice.cubic(2.87), ["Fe", "Fe"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    assert len(scene(iron)["bonds"]) >= 8


def test_elements_of_one_crystal_have_distinct_colours():
    assert element_colours(["Ti", "O"])["O"] == "#ff0d0d"
    alike = element_colours(["Ca", "F"])
    gap = [abs(int(alike["Ca"][i : i + 2], 16) - int(alike["F"][i : i + 2], 16)) for i in (1, 3, 5)]
    assert max(gap) > 60


def test_notation_is_that_of_crystallography():
    assert formula_html("SrTiO3") == "SrTiO<sub>3</sub>"
    assert space_group_html("Fm-3m") == '<i>F</i><i>m</i><span class="bar">3</span><i>m</i>'
    assert space_group_html("P2_1/c") == "<i>P</i>2<sub>1</sub>/<i>c</i>"
    assert number(-0.5, 2, "eV") == "\N{MINUS SIGN}0.50\N{NO-BREAK SPACE}eV"
    assert number(None) == "–" and percent(None) == "–"
    assert (percent(0.001), percent(0.864)) == ("<1\N{NO-BREAK SPACE}%", "86\N{NO-BREAK SPACE}%")


@pytest.mark.parametrize("low,high", [(0.0, 1.0), (22.4, 23.7), (-0.002, 0.02), (100.0, 900.0)])
def test_ticks_are_round_and_inside(low, high):
    ticks = Axis(low, high, 0, 100).ticks
    assert 3 <= len(ticks) <= 8 and low <= ticks[0] and ticks[-1] <= high
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])


def test_a_pool_without_energies_has_no_plot():
    lost = CandidateSummary("X", "x", "1:X-a", "search", "dropped", "lost", None, None, None, None, None)
    assert energy_volume_svg([lost], "X") is None


def test_heat_maps_darken_with_value():
    drawn = heat_map_svg(np.array([[0.0, 4.0], [4.0, 0.0]]), ("Na", "Cl"), 4.0, "map", "Å")
    assert drawn.count("rgb(244,247,251)") == 2 and drawn.count("rgb(16,62,120)") == 2


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_scripts_run_in_a_browser_without_errors(run_folder, page):
    url = (run_folder / "report" / "index.html").as_uri()
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        "--dump-dom",
    ]
    done = subprocess.run(
        [*command, "--virtual-time-budget=2000", url], capture_output=True, text=True, timeout=60
    )
    assert "CONSOLE" not in done.stderr
    assert "4 of 4 structures" in done.stdout
