"""The report in a real browser: its scripts run, and what a reader does with mouse or keyboard works."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from known_report import write_page, write_run
from pymatgen.core import Structure

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
if CHROMIUM is None:
    pytest.skip("no Chromium on this machine; apt-get install chromium", allow_module_level=True)
sync_api = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed; pip install 'mapcsp[browser]'"
)
# One worker: a browser takes seconds to start.
pytestmark = pytest.mark.xdist_group("browser")

PICTURE = "canvas => canvas.toDataURL()"
# Relative luminance and contrast as WCAG 2.1 defines them; for text, up to the first background that is not clear.
CONTRASTS = """() => {
  const parse = (c) => (c.match(/[\\d.]+/g) || [0, 0, 0, 0]).map(Number);
  const light = (c) => parse(c).slice(0, 3).map((x) => x / 255)
    .map((x) => (x <= 0.03928 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4))
    .reduce((sum, x, i) => sum + x * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    const dot = e.previousElementSibling;
    if (e.matches(".dot-label")) return getComputedStyle(dot).fill;
    for (; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] > 0.5) return getComputedStyle(e).backgroundColor;
    }
    return "rgb(255, 255, 255)";
  };
  const found = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || e.closest("script, style, title, [hidden], .skip") || e.closest("details:not([open])")) continue;
    const style = getComputedStyle(e);
    const [a, b] = [light(e.closest("svg") ? style.fill : style.color), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found.push(`${e.tagName}.${e.className.baseVal ?? e.className}: ${ratio.toFixed(2)}`);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        # Root, as in containers, cannot use Chromium's sandbox; the page is the test's own.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    folder = write_run(tmp_path_factory.mktemp("run"))
    write_page(folder, folder / "report" / "index.html")
    return folder / "report" / "index.html"


@pytest.fixture
def page(browser, report):
    """The report, opened; every message to the console and every failed request fails the test."""
    context = browser.new_context(viewport={"width": 1320, "height": 1000}, offline=True)
    page = context.new_page()
    heard: list[str] = []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on("requestfailed", lambda request: heard.append(request.url))
    page.goto(report.as_uri())
    yield page
    assert heard == []
    context.close()


def column(page, name: str) -> list[str]:
    """Texts of one column of the ranking, of the rows that are shown."""
    headings = page.locator("#ranking-table th .name").all_inner_texts()
    place = headings.index(name) + 1
    return page.locator(f"#ranking-table tbody tr:visible td:nth-child({place})").all_inner_texts()


def picture(page):
    """The first structure's canvas, drawn."""
    canvas = page.locator("canvas").first
    canvas.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.viewer').viewer !== undefined")
    return canvas


def test_the_page_loads_offline_without_a_word_on_the_console(page):
    assert page.title() == "Salt & co"
    assert page.locator("#filter-count").inner_text() == "4 of 4 structures"


def test_a_click_on_a_heading_sorts_and_a_second_one_turns_the_order(page):
    heading = page.locator("#ranking-table th", has_text="volume")
    heading.locator("button").click()
    ascending = [float(text) for text in column(page, "volume")]
    assert len(set(ascending)) == 4 and ascending == sorted(ascending)
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.locator("button").click()
    assert [float(text) for text in column(page, "volume")] == ascending[::-1]
    assert heading.get_attribute("aria-sort") == "descending"


def test_filters_leave_the_rows_that_fit(page):
    page.fill("#filter-text", "srtio3")
    assert column(page, "formula") == ["SrTiO3"]
    assert page.locator("#filter-count").inner_text() == "1 of 4 structures"
    page.fill("#filter-text", "")
    page.select_option("#filter-rank", "1")
    assert column(page, "rank") == ["1", "1"]
    page.fill("#filter-text", "no such thing")
    assert column(page, "formula") == []


def test_a_drag_turns_a_structure_and_reset_turns_it_back(page):
    canvas = picture(page)
    before = canvas.evaluate(PICTURE)
    box = canvas.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 60, y + 25, steps=4)
    page.mouse.up()
    turned = canvas.evaluate(PICTURE)
    assert turned != before
    page.mouse.move(x - 60, y)
    assert canvas.evaluate(PICTURE) == turned
    page.locator("button[data-act=reset]").first.click()
    assert canvas.evaluate(PICTURE) == before


def test_a_structure_turns_by_itself_when_asked(page):
    canvas, button = picture(page), page.locator("button[data-act=spin]").first
    before = canvas.evaluate(PICTURE)
    button.click()
    page.wait_for_function("before => document.querySelector('canvas').toDataURL() !== before", arg=before)
    button.click()
    assert button.get_attribute("aria-pressed") == "false"


def test_a_downloaded_cif_is_the_crystal(page, tmp_path):
    with page.expect_download() as waiting:
        page.locator("a[download='NaCl_1.cif']").click()
    assert waiting.value.suggested_filename == "NaCl_1.cif"
    waiting.value.save_as(tmp_path / "NaCl.cif")
    structure = Structure.from_file(tmp_path / "NaCl.cif")
    assert structure.composition.formula == "Na4 Cl4"
    assert structure.lattice.a == pytest.approx(5.64, abs=1e-3)


def test_everything_works_by_keyboard_alone(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.url.endswith("#ranking")
    page.keyboard.press("Tab")
    page.keyboard.type("SrTiO3")
    assert column(page, "formula") == ["SrTiO3"]
    page.locator("#ranking-table th button").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#ranking-table th").first.get_attribute("aria-sort") == "ascending"

    canvas = picture(page)
    canvas.focus()
    before = canvas.evaluate(PICTURE)
    page.keyboard.press("ArrowRight")
    turned = canvas.evaluate(PICTURE)
    page.keyboard.press("+")
    assert len({before, turned, canvas.evaluate(PICTURE)}) == 3
    page.keyboard.press("r")
    assert canvas.evaluate(PICTURE) == before
    assert canvas.evaluate("c => getComputedStyle(c).outlineStyle") == "solid"


def test_every_control_of_the_page_can_be_reached_by_tab_and_has_a_name(page):
    wanted = page.locator("a, button, input, select, summary, canvas, .scroll").count()
    hidden = page.locator("details:not([open]) :is(a, button, input, select, summary ~ * summary)").count()
    reached = set()
    for _ in range(wanted + 5):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "() => { const e = document.activeElement;"
            " return e === document.body ? null : [[...document.querySelectorAll('*')].indexOf(e),"
            " (e.getAttribute('aria-label') || e.labels?.[0]?.innerText || e.innerText || '').trim()]; }"
        )
        if name is not None:
            assert name[1], f"element {name[0]} has no name"
            reached.add(name[0])
    assert len(reached) == wanted - hidden


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert page.evaluate(CONTRASTS) == []


def test_a_narrow_window_needs_no_sideways_scrolling(page):
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_pages_by_formula_work_too(browser, report, tmp_path, monkeypatch):
    monkeypatch.setattr("mapcsp.report.run.FORMULAS_ON_ONE_PAGE", 1)
    write_page(report.parents[1], tmp_path / "index.html")
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    page.get_by_role("link", name="NaCl").first.click()
    assert page.locator("h1").inner_text() == "NaCl"
    assert picture(page).evaluate(PICTURE) != "data:,"
    page.get_by_role("link", name="Salt & co").click()
    assert page.locator("#filter-count").inner_text() == "2 of 4 structures"
    page.close()
