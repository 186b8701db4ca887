"""The report stage: one page that holds everything, is safe, reads well and works offline."""

from __future__ import annotations

import base64
import html
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import known_pools as known
import numpy as np
import pytest
from known_report import SECOND, with_everything, write_page, write_run
from mapcsp.crystals import distance_matrix
from mapcsp.errors import UserError
from mapcsp.provenance import file_sha256
from mapcsp.records import (
    CandidateSummary,
    Crystal,
    FormulaMaps,
    FormulaOutcome,
    Label,
    PredictedMap,
    RelaxedPool,
)
from mapcsp.relax.references import References
from mapcsp.report import run as report_run
from mapcsp.report import run_report
from mapcsp.report.notation import formula_html, number, percent, space_group_html
from mapcsp.report.plots import Axis, energy_volume_svg, heat_map_svg
from mapcsp.report.view3d import element_colours, scene
from mapcsp.settings import SECTIONS, parse_settings
from mapcsp.store import read_header, read_records, write_maps, write_records
from mapcsp.untried import Untried, UntriedCell
from pymatgen.core import Lattice, Structure

RESOURCES = Path(__file__).parents[1] / "resources"
VOID = {"meta", "input", "br", "img", "link", "hr"}


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    return write_run(tmp_path_factory.mktemp("run"))


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
    assert names[:3] == ["NaCl_1.cif", "NaCl_1.vasp", "NaCl_1.json"] and len(names) == 14


def downloads(page: str) -> dict[str, str]:
    """The files inside the page, by name."""
    uris = {a["download"]: a["href"] for a in Elements(page).of("a") if "download" in a}
    return {name: base64.b64decode(uri.partition("base64,")[2]).decode() for name, uri in uris.items()}


def test_downloads_hold_the_crystal_in_each_format(page):
    content = downloads(page)
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


def facts(page: str, key: str) -> dict[str, str]:
    """Names and values of the facts of one structure, tags left out."""
    card = page.split(f'data-scene="scene-{key}"')[1].split("</dl>")[0]
    pairs = re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", card, re.S)
    plain = {name: html.unescape(re.sub(r"<[^>]+>", "", value)) for name, value in pairs}
    return {name: value.replace("\N{NO-BREAK SPACE}", " ") for name, value in plain.items()}


def headings(page: str) -> list[str]:
    return re.findall(r'<span class="name">(.*?)</span>', page)


def rich_run(folder: Path) -> Path:
    salt = known.salt_pool()
    return write_run(folder, replace(salt, candidates=tuple(map(with_everything, salt.candidates))))


def test_a_plain_run_says_what_is_not_available_and_why(page):
    said = facts(page, "NaCl-1")
    assert {name for name, value in said.items() if value.startswith("not available: ")} == {
        "energy above hull",
        "second potential",
        "energy uncertainty",
        "one-pass uncertainty",
        "symmetry in relaxation",
    }
    assert "relax.hull_table" in said["energy above hull"]
    assert "rescore.potential" in said["energy uncertainty"]
    assert "relax.prerelax" in said["one-pass uncertainty"]
    assert "above hull" not in headings(page) and "uncertainty" not in headings(page)
    assert "Energies above hull: not available" in page and "Energy uncertainty: not available" in page


def test_what_a_run_knows_of_hull_uncertainty_and_symmetry_is_shown(tmp_path):
    page = write_page(rich_run(tmp_path), tmp_path / "index.html")
    said = facts(page, "NaCl-1")
    # -3.40 eV/atom by the first potential, 1.1 times that by the second, in `with_everything`.
    assert said["energy above hull"] == "0.010 eV/atom"
    assert said["second potential"] == f"−3.740 eV/atom ({SECOND}), 0.000 eV/atom above its lowest"
    assert re.fullmatch(r"0\.00\d eV/atom, by how far the potentials disagree", said["energy uncertainty"])
    assert said["one-pass uncertainty"] == "0.087 Å"
    assert said["symmetry in relaxation"] == "kept the label's No. 225"
    columns = ["above hull", "above lowest", "2nd potential", "uncertainty"]
    assert [name for name in headings(page) if name in columns] == columns
    assert f"<dt>second potential</dt><dd>{SECOND}</dd>" in page


def test_a_formula_outside_of_the_training_and_a_row_of_two_groups_say_so(tmp_path):
    left, right = known.quartz(), known.mirrored(known.quartz())
    label = Label.from_key("154:O-c,Si-a")
    quartz = RelaxedPool(
        "SiO2",
        "SiO2",
        (
            known.relaxed_candidate("l", left, label, -7.9005, formula="SiO2", formula_id="SiO2"),
            known.relaxed_candidate("r", right, label, -7.9, formula="SiO2", formula_id="SiO2"),
        ),
    )
    sodium = known.relaxed_candidate(
        "na-0",
        known.close_packed_sodium()[0],
        Label.from_key("225:Na-a"),
        -1.3,
        formula="Na",
        formula_id="Na",
    )
    text = write_page(
        write_run(tmp_path, quartz, RelaxedPool("Na", "Na", (sodium,))), tmp_path / "index.html"
    )
    assert text.count("Unlike the formulas that the networks learned from") == 1
    assert "single element: the networks were trained on compounds" in text
    assert "1, some of which the search for symmetry put into P3_121 (No. 152)" in text


def test_a_structure_that_the_second_potential_was_not_asked_about_says_so(tmp_path):
    page = write_page(rich_run(tmp_path), tmp_path / "index.html")
    said = [facts(page, f"NaCl-{rank}") for rank in (1, 2, 3)]
    (blende,) = [one for one in said if one["predicted label"].startswith("216:")]
    assert "rescore.candidates" in blende["second potential"]
    assert "rescore.candidates" in blende["energy uncertainty"]


def test_the_table_has_a_cell_for_each_heading(page, tmp_path):
    for text in (page, write_page(rich_run(tmp_path), tmp_path / "index.html")):
        table = text.split('id="ranking-table"')[1].split("</table>")[0]
        rows = table.split("<tr data-rank")[1:]
        assert rows and {row.count("<td") for row in rows} == {len(headings(text))}


def test_a_doubtful_formation_energy_is_marked_with_its_reason(tmp_path):
    # In the words of the relaxation itself.
    doubt = References("m3gnet", "", True, {}).doubt(("Pu", "O"))
    salt = known.salt_pool()
    doubtful = [replace(r, reason="cell doubled; " + doubt) for r in salt.candidates]
    write_run(tmp_path, RelaxedPool("NaCl", "NaCl", tuple(doubtful)))
    page = write_page(tmp_path, tmp_path / "index.html")
    said = facts(page, "NaCl-1")
    assert said["formation energy"] == f"−2.200 eV/atom {doubt}"
    assert said["relaxation"].startswith("converged (cell doubled), 20 steps")
    assert page.count(f'title="{doubt}">?</abbr>') == 3


def test_an_element_without_reference_energy_leaves_the_formation_energy_out(tmp_path):
    salt = known.salt_pool()
    without = [replace(r, formation_energy_ev_per_atom=None) for r in salt.candidates]
    write_run(tmp_path, RelaxedPool("NaCl", "NaCl", tuple(without)))
    said = facts(write_page(tmp_path, tmp_path / "index.html"), "NaCl-1")
    assert "no reference energy" in said["formation energy"]
    assert "no reference energy" in said["energy above hull"]


def test_provenance_names_versions_settings_and_hashes(page):
    assert "pymatgen" in page and "symprec_ang" in page and "m3gnet" in page
    assert re.search(r"ranker</dt><dd><code>[0-9a-f]{64}", page)
    hashes = dict(re.findall(r"<dt>([^<\s]+)</dt><dd><code>([0-9a-f]{64})</code>", page))
    symmetry = RESOURCES / "models/symmetry/weights.safetensors"
    assert hashes["models/symmetry/weights.safetensors"] == file_sha256(symmetry)
    assert "models/ranker/coefficients.json" in hashes
    # Shipped, and not used with these settings.
    assert not any("deeprelax" in name or "alphacrystal" in name for name in hashes)


def test_the_files_to_repeat_a_run_are_its_settings_and_its_list(page):
    content = downloads(page)
    assert "snakemake --cores all --configfile settings.json --config formulas=formulas.csv" in page
    repeated = parse_settings(json.loads(content["settings.json"]))
    assert repeated.report.title == "Salt & co" and repeated.seed == 1
    assert {name for name in SECTIONS} <= set(json.loads(content["settings.json"]))
    # With the ids, which name every file of the results.
    assert content["formulas.csv"] == (
        "formula,id,z,space_group\nNaCl,NaCl,1,\nSrTiO3,SrTiO3,,\nXeF2,XeF2,,\n"
    )
    # What `auto` came to, so that the repeated run does the same where SevenNet is installed.
    assert repeated.rescore.potential == "none"


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


def large_pool(name: str) -> RelaxedPool:
    """Five crystals without symmetry, of the most atoms that a primitive cell may hold."""
    rng = np.random.default_rng(5)
    species = ("Ba", "Ca", "Cl", "F", "O", "Ti")
    label = Label(1, tuple((symbol, "a") for symbol in species))
    crystals = [
        Crystal(
            np.diag([6.0, 7.0, 8.0 + i]), tuple(s for s in species for _ in range(4)), rng.random((24, 3))
        )
        for i in range(5)
    ]
    return RelaxedPool(
        name,
        "BaCaTiClOF",
        tuple(
            known.relaxed_candidate(
                f"large-{i}", crystal, label, -5.0 + 0.1 * i, formula="BaCaTiClOF", formula_id=name
            )
            for i, crystal in enumerate(crystals)
        ),
    )


def test_ten_large_formulas_make_a_page_below_15_mb(tmp_path):
    write_run(tmp_path, large_pool("Large"))
    crystal = large_pool("Large").candidates[0].crystal
    distance = distance_matrix(crystal)
    everywhere = PredictedMap(1, None, crystal.species, distance, 0.1 * distance, 0.1 * (distance > 0))
    relabelled = replace(everywhere, z=4)
    write_maps(tmp_path / "maps" / "Large.safetensors", FormulaMaps("Large", (everywhere, relabelled)))
    run_report(
        tmp_path / "ranking",
        tmp_path / "intake",
        tmp_path / "settings" / "report.json",
        tmp_path / "index.html",
        [tmp_path / "maps" / "Large.safetensors"],
    )
    page = (tmp_path / "index.html").read_text()
    assert page.count("<canvas") == 5 and page.count("predicted contacts</figcaption>") == 5
    assert 10 * len(page.encode()) < 15e6


def test_at_the_limit_formulas_share_a_page_and_one_more_gives_each_its_own(tmp_path, monkeypatch):
    assert report_run.FORMULAS_ON_ONE_PAGE == 50
    monkeypatch.setattr(report_run, "FORMULAS_ON_ONE_PAGE", 3)
    salts = [
        RelaxedPool(
            f"Salt{i}",
            "NaCl",
            (known.relaxed_candidate("x", known.rocksalt(), known.ROCKSALT, -3.4, formula_id=f"Salt{i}"),),
        )
        for i in range(4)
    ]
    for count, pages in ((3, 0), (4, 4)):
        folder = write_run(tmp_path / str(count), *salts[:count])
        page = write_page(folder, folder / "report" / "index.html")
        assert len(list((folder / "report" / "formulas").glob("*/*.html"))) == pages
        assert page.count("<canvas") == (0 if pages else 3)
        assert page.count("<tr data-rank") == count


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


def test_the_page_says_what_was_not_tried_and_its_probability(tmp_path):
    folder = write_run(tmp_path, known.salt_pool(), known.empty_pool())
    path = folder / "ranking" / "outcomes.jsonl"
    untried = Untried((UntriedCell(4, 28, 0.85, "most 24"),), 0.86, 0.0)
    outcomes = [replace(o, untried=untried) for o in read_records(path, FormulaOutcome)]
    kept = {name: read_header(path)[name] for name in ("settings", "ranker", "second_potential")}
    write_records(path, FormulaOutcome, outcomes, **kept)
    page = write_page(folder, tmp_path / "index.html")
    # In the list of such formulas, in the formula's own part, and beside the reason of the one without a structure.
    assert page.count("z = 4 (28 atoms) not tried: most 24") == 3
    assert page.count(percent(0.86)) == 3
