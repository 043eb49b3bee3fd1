"""The page in a real browser: silent, accessible, no wider than a phone, whole without scripts."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from PIL import Image

from reportgen.look import Look
from reportgen.page.blocks import Column, Section, Table
from reportgen.page.build import build
from reportgen.page.cells import of_text
from reportgen.render import typeface
from reportgen.render.html import to_html
from reportgen.render.notebook import frame
from reportgen.render.write import render, write

from . import builders, showcase

pytestmark = pytest.mark.slow
playwright = pytest.importorskip("playwright.sync_api")

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NAMES = tuple(showcase.REPORTS)
SMALL = [name for name in NAMES if name != "huge"]
# contrast is only checked in what is laid out and unfolded
UNFOLD = """() => {
  document.querySelectorAll('details').forEach(d => { d.open = true; });
  document.querySelectorAll('.chunk').forEach(c => { c.style.contentVisibility = 'visible'; });
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    made = {name: folder / f"{name}.html" for name in NAMES}
    for name, path in made.items():
        path.write_bytes(showcase.html(name))
    return made


@pytest.fixture(scope="module")
def axe() -> str:
    package = pytest.importorskip("axe_playwright_python")
    return (Path(package.__file__).parent / "axe.min.js").read_text("utf-8")


def opened(browser: Any, path: Path, **settings: Any) -> Any:
    page = browser.new_context(**settings).new_page()
    page.goto(path.as_uri())
    return page


SMALL_WORDS = """() => [...document.querySelectorAll('svg text')].filter(t => t.checkVisibility()).filter(t => {
  const drawing = t.ownerSVGElement;
  const scale = drawing.getBoundingClientRect().width / drawing.viewBox.baseVal.width;
  return parseFloat(getComputedStyle(t).fontSize) * scale < 9;
}).map(t => t.ownerSVGElement.querySelector('title').textContent)"""
CUT_TITLES = """() => [...document.querySelectorAll('.wrap caption:not(.sr)')].filter(
  c => c.offsetWidth > c.closest('.wrap').clientWidth + 1).map(c => c.textContent)"""


@pytest.mark.parametrize("name", SMALL)
def test_a_phone_shows_words_that_can_be_read_and_whole_titles(browser: Any, files: dict[str, Path], name: str) -> None:
    page = opened(browser, files[name], viewport={"width": 360, "height": 800})
    page.evaluate(UNFOLD)
    assert page.evaluate(SMALL_WORDS) == []
    assert page.evaluate(CUT_TITLES) == []


# by how many pixels a word may stand out: the room of a letter's box around its ink
CUT_WORDS = """() => [...document.querySelectorAll('svg text')].filter(t => t.checkVisibility()).filter(t => {
  const [word, sheet] = [t.getBoundingClientRect(), t.ownerSVGElement.getBoundingClientRect()];
  return word.left < sheet.left - 0.5 || word.right > sheet.right + 0.5 || word.top < sheet.top - 2;
}).map(t => t.textContent)"""


@pytest.mark.parametrize("name", SMALL)
def test_no_word_of_a_drawing_is_cut_at_its_edge(browser: Any, files: dict[str, Path], name: str) -> None:
    page = opened(browser, files[name], viewport={"width": 1280, "height": 800})
    page.evaluate(UNFOLD)
    assert page.evaluate(CUT_WORDS) == []


CUT_TABLES = """() => [...document.querySelectorAll('.wrap')].filter(w => w.scrollWidth > w.clientWidth + 1).map(
  w => w.getAttribute('aria-label'))"""
# where a line ends inside a name, after what sign
BROKEN = """() => [...document.querySelectorAll('.wrap tbody th, .wrap td.t, .wrap td.m')].flatMap(cell => {
  const out = [], walk = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), range = document.createRange();
  let sign = "", top = Infinity;
  for (let node; (node = walk.nextNode());)
    for (let i = 0; i < node.length; i++) {
      range.setStart(node, i); range.setEnd(node, i + 1);
      const box = range.getBoundingClientRect();
      if (box.width && box.top > top + 3) out.push(sign + node.data[i]);
      if (box.width) top = box.top;
      sign = node.data[i];
    }
  return out;
})"""


@pytest.mark.parametrize("name", [name for name in SMALL if name != "hostile"])
def test_tables_fit_a_screen_and_names_break_where_they_have_parts(
    browser: Any, files: dict[str, Path], name: str
) -> None:
    page = opened(browser, files[name], viewport={"width": 1280, "height": 800})
    page.evaluate(UNFOLD)
    assert page.evaluate(CUT_TABLES) == []
    assert [
        pair for pair in page.evaluate(BROKEN) if pair.isascii() and not re.match(r"[ ._/:-]|[a-z0-9][A-Z]", pair)
    ] == []


def test_headings_of_many_columns_break_rather_than_make_a_table_wider(browser: Any, tmp_path: Path) -> None:
    columns = [Column("Layer", "name"), *(Column("Steps over the run") for _ in range(11))]
    table = Table(id="t", caption="Layers", columns=columns, rows=[[of_text("0.000895")] * 12])
    section = Section(id="s", title="Some", blocks=[table])
    (tmp_path / "page.html").write_bytes(to_html(replace(build(builders.smallest()), sections=[section])))
    page = opened(browser, tmp_path / "page.html", viewport={"width": 1280, "height": 800})
    assert page.evaluate(CUT_TABLES) == []


def test_a_box_that_goes_on_beyond_its_edge_has_a_shade_there(browser: Any, files: dict[str, Path]) -> None:
    """At the edge where there is more, and only there: scrolled to its end the shade is at the start."""
    page = opened(browser, files["classifier"], viewport={"width": 360, "height": 800})
    box = page.locator("#by-layer .wrap").first
    for place, dark in ((0, (False, True)), (9999, (True, False))):
        box.evaluate("(box, place) => { box.scrollLeft = place; }", place)
        shown = Image.open(io.BytesIO(box.screenshot())).convert("L")
        rows = (shown.height - 5, shown.height - 4)  # beneath the letters of the last row; one may be its rule
        ends = [min(shown.getpixel((x, row)) for row in rows) for x in (0, shown.width - 1)]
        assert tuple(grey < 220 for grey in ends) == dark


@pytest.mark.parametrize("name", SMALL)
def test_asks_for_nothing_and_complains_of_nothing(browser: Any, files: dict[str, Path], name: str) -> None:
    page = browser.new_context().new_page()
    requests: list[str] = []
    errors: list[str] = []
    page.on("request", lambda r: requests.append(r.url))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    page.on("dialog", lambda d: (errors.append(d.message), d.dismiss()))
    page.on("pageerror", lambda e: errors.append(str(e)))
    page.goto(files[name].as_uri())
    page.evaluate(UNFOLD)
    assert requests == [files[name].as_uri()]
    assert [e for e in errors if "style" not in e] == []
    page.context.close()


VIEWS = [(name, scheme, width) for name in SMALL for scheme, width in (("light", 1280), ("dark", 360))]
VIEWS += [("classifier", "light", 360), ("classifier", "dark", 1280)]


@pytest.mark.parametrize(("name", "scheme", "width"), VIEWS)
def test_is_accessible(browser: Any, files: dict[str, Path], axe: str, name: str, scheme: str, width: int) -> None:
    page = opened(browser, files[name], color_scheme=scheme, viewport={"width": width, "height": 900}, bypass_csp=True)
    page.evaluate(UNFOLD)
    page.evaluate(axe)
    result = page.evaluate("async () => await axe.run()")
    found = [(v["id"], [n["html"][:160] for n in v["nodes"][:3]]) for v in result["violations"]]
    page.context.close()
    assert found == []


@pytest.mark.parametrize("name", NAMES)
def test_never_scrolls_sideways_on_a_phone(browser: Any, files: dict[str, Path], name: str) -> None:
    page = opened(browser, files[name], viewport={"width": 360, "height": 800})
    page.evaluate(UNFOLD)
    width = page.evaluate("document.documentElement.scrollWidth")
    page.context.close()
    assert width <= 360


@pytest.mark.parametrize("name", SMALL)
def test_a_phone_shows_the_whole_network_on_its_first_screen(browser: Any, files: dict[str, Path], name: str) -> None:
    """What is wrong near the output is not to be scrolled for; other wide charts may be."""
    page = opened(browser, files[name], viewport={"width": 360, "height": 800})
    hidden = page.locator(".depth .canvas").evaluate_all("all => all.map(e => e.scrollWidth - e.clientWidth)")
    page.context.close()
    assert max(hidden, default=0) <= 0


def test_signs_of_the_network_are_as_large_on_a_phone(browser: Any, files: dict[str, Path]) -> None:
    least = []
    for width in (360, 1280):
        page = opened(browser, files["classifier"], viewport={"width": width, "height": 800})
        boxes = page.locator(".strip use").evaluate_all("all => all.map(e => e.getBoundingClientRect().toJSON())")
        strip = page.locator(".strip").bounding_box()
        page.context.close()
        assert len(boxes) > 4
        assert all(strip["x"] <= b["left"] and b["right"] <= strip["x"] + strip["width"] for b in boxes)
        least.append(min(min(b["width"], b["height"]) for b in boxes))
    assert least[0] == least[1] >= 10


def test_wide_parts_scroll_sideways_only_by_bars_in_colours_of_the_page(browser: Any, files: dict[str, Path]) -> None:
    """Firefox scrolls a table up and down for half of its last rule, and draws a white bar on a page that is dark."""
    page = opened(browser, files["classifier"], viewport={"width": 360, "height": 800}, color_scheme="dark")
    told = page.evaluate("""() => [...document.querySelectorAll('.wrap, .canvas')].map(e => {
      const s = getComputedStyle(e); return [s.overflowX, s.overflowY, s.scrollbarColor]; })""")
    assert len(told) > 10
    assert {tuple(t) for t in told} == {("auto", "hidden", "rgb(163, 174, 186) rgba(0, 0, 0, 0)")}


def test_a_phone_tells_what_was_measured_from_its_limit(browser: Any, files: dict[str, Path]) -> None:
    """There the cells of a finding stand beneath each other, and their headings are gone."""
    said = []
    for width in (360, 1280):
        page = opened(browser, files["classifier"], viewport={"width": width, "height": 800})
        cells = page.locator("#diagnosis-1-evidence tbody tr:first-child td.p")
        said.append(cells.evaluate_all("all => all.map(e => getComputedStyle(e, '::before').content)"))
        page.context.close()
    assert said == [['"Measured"', '"Raised where"'], ["none", "none"]]


@pytest.mark.parametrize("subject", ["fc", "model"])
def test_a_lone_picture_stands_over_its_caption_and_beside_the_advice(
    browser: Any, tmp_path: Path, subject: str
) -> None:
    """With a line that names the layer, and without one where it is the model as a whole."""
    found = replace(builders.diagnoses()[0].findings[0], subject=subject, rule="o-baseline-skill", section="evaluation")
    found = replace(found, evidence={"skill": 0.02}, threshold={"skill": 0.05})
    diagnosis = replace(builders.diagnoses()[0], subject=subject, findings=[found], consequences=[])
    path = write(replace(builders.regressor(), diagnoses=[diagnosis]), tmp_path / "one.html")
    page = opened(browser, path, viewport={"width": 1280, "height": 800})
    shown, note, advice = (page.locator(f".one {of}").bounding_box() for of in (".shown", ".note", ".advice"))
    n_subjects = page.locator(".one .subject").count()
    page.context.close()
    assert n_subjects == (subject != "model")
    assert note["x"] == shown["x"]
    assert advice["x"] > shown["x"] + shown["width"]
    assert abs(advice["y"] - shown["y"]) <= 1
    assert 0 <= note["y"] - shown["y"] - shown["height"] <= 12


def test_reads_the_same_without_scripts(browser: Any, files: dict[str, Path]) -> None:
    texts = []
    for enabled in (True, False):
        page = opened(browser, files["classifier"], java_script_enabled=enabled)
        texts.append(page.locator("body").inner_text())
        page.context.close()
    assert texts[0] == texts[1]
    assert "2 errors, 1 warning" in texts[1]


# what a page must neither run nor ask for, were a name of a layer not escaped one day
ATTACK = """<script>document.title='hit'</script><script src="{0}/script"></script>
<img src="{0}/img" onerror="document.title='hit'"><svg onload="document.title='hit'"><image href="{0}/image"/></svg>
<iframe src="{0}/iframe"></iframe><iframe srcdoc="<script>parent.document.title='hit'</script>"></iframe>
<link rel=stylesheet href="{0}/css"><style>body{{background:url({0}/style)}}</style>
<p style="background:url({0}/attribute);position:fixed" id=styled>x</p><object data="{0}/object"></object>
<embed src="{0}/embed"><video src="{0}/video" autoplay></video>
<a href="javascript:void(document.title='hit')" id=press>press</a>
<form action="{0}/form"><button id=send>send</button></form>
"""


@contextmanager
def counted() -> Iterator[tuple[str, list[str]]]:
    """Serve nothing, and keep what was asked for."""
    asked: list[str] = []

    class Counting(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Counting)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("guarded", [True, False], ids=["with-the-policy", "without"])
def test_the_policy_holds_against_a_broken_escape(
    browser: Any, files: dict[str, Path], tmp_path: Path, guarded: bool
) -> None:
    """Nothing runs, nothing is asked for; without the policy of the page all of it would."""
    html = files["smallest"].read_text("utf-8")
    if not guarded:
        html = re.sub('<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    with counted() as (address, asked):
        (tmp_path / "broken.html").write_text(html.replace("</main>", ATTACK.format(address) + "</main>"), "utf-8")
        page = opened(browser, tmp_path / "broken.html")
        page.wait_for_timeout(500)
        hit = "hit" in page.title()
        styled = page.locator("#styled").evaluate("e => getComputedStyle(e).position") == "fixed"
        for place in ("#press", "#send"):
            page.locator(place).dispatch_event("click")
            page.wait_for_timeout(300)
        hit = hit or (guarded and "hit" in page.title())
        page.context.close()
    loaded = {"/script", "/img", "/image", "/iframe", "/css", "/style", "/attribute", "/object", "/embed", "/video"}
    assert hit is styled is not guarded
    told = {path.partition("?")[0] for path in asked} - {"/favicon.ico"}  # of the address that the form leads to
    assert told == (set() if guarded else {*loaded, "/form"})


@pytest.mark.skipif(shutil.which("pdftotext") is None, reason="pdftotext reads what was printed")
def test_folded_parts_are_printed(browser: Any, files: dict[str, Path], tmp_path: Path) -> None:
    page = opened(browser, files["classifier"])
    inside = page.locator("details:not([open]) tbody tr:last-child th")
    folded = inside.evaluate_all("all => all.map(e => e.textContent)")
    page.pdf(path=str(tmp_path / "printed.pdf"))
    page.context.close()
    said = subprocess.run(
        ["pdftotext", tmp_path / "printed.pdf", "-"], capture_output=True, text=True, check=True
    ).stdout
    assert len(folded) > 5
    printed = re.sub(r"\s", "", said)
    assert [text for text in folded if re.sub(r"\s", "", text) not in printed] == []


def named_font() -> bool:
    """Tell whether the system has a font with Chinese characters that the style sheet names."""
    font = typeface.found()
    return font is not None and font.name.startswith(("wqy-", "NotoSans"))


def test_latin_letters_are_in_latin_fonts(browser: Any, files: dict[str, Path]) -> None:
    """Fonts with Chinese characters have Latin letters too, in one weight and without serifs."""
    page = opened(browser, files["classifier"])
    asked = page.context.new_cdp_session(page)
    asked.send("DOM.enable")
    asked.send("CSS.enable")
    root = asked.send("DOM.getDocument")["root"]["nodeId"]
    for place in ("h1", "h2", ".subtitle", "td", "tbody th", ".subject code"):
        node = asked.send("DOM.querySelector", {"nodeId": root, "selector": place})["nodeId"]
        fonts = [f["familyName"] for f in asked.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]]
        assert fonts, place
        assert not [f for f in fonts if "CJK" in f or "WenQuanYi" in f], (place, fonts)
    page.context.close()


@pytest.mark.parametrize("beside", [False, True])
def test_a_machine_without_a_chinese_font_shows_no_empty_boxes(browser: Any, tmp_path: Path, beside: bool) -> None:
    """Each text is drawn in the font of the page, the first of its size and weight too."""
    if typeface.found() is None:
        pytest.skip("no font to put into the page")
    latin = Path(pytest.importorskip("matplotlib").get_data_path()) / "fonts" / "ttf"
    (tmp_path / "fonts.conf").write_text(
        f"<fontconfig><dir>{latin}</dir><cachedir>{tmp_path}/cache</cachedir></fontconfig>", "utf-8"
    )
    write(builders.classifier(3), tmp_path / "r.html", language="zh", look=Look(sidecar_css=beside))
    env = {**os.environ, "FONTCONFIG_FILE": str(tmp_path / "fonts.conf")}
    bare = browser.browser_type.launch(executable_path=str(CHROMIUM), args=FLAGS, env=env)
    page = opened(bare, tmp_path / "r.html")
    page.wait_for_timeout(500)
    told = page.context.new_cdp_session(page)
    told.send("DOM.enable")
    told.send("CSS.enable")
    root = told.send("DOM.getDocument")["root"]["nodeId"]
    parts = {"nodeId": root, "selector": "h1, h2, h3, p, dt, dd, td, th, caption, summary, strong, li, text"}
    drawn = []
    for node in told.send("DOM.querySelectorAll", parts)["nodeIds"]:
        html = told.send("DOM.getOuterHTML", {"nodeId": node})["outerHTML"]
        text = re.sub("<title>.*?</title>|<[^>]*>", "", html)
        fonts = told.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
        if fonts and typeface.chinese(text):
            drawn.append((any(font["isCustomFont"] for font in fonts), text))
    bare.close()
    assert len(drawn) > 100
    assert [text for found, text in drawn if not found] == []


def test_a_font_beside_the_page_is_found_on_a_disk(browser: Any, tmp_path: Path) -> None:
    write(builders.smallest(), tmp_path / "a page.html", look=Look(sidecar_css=True), language="zh")
    sheet = tmp_path / "a page.css"
    alone = re.sub(r'local\("[^"]*"\),', "", sheet.read_text("utf-8"))
    sheet.write_text(alone, "utf-8")
    page = opened(browser, tmp_path / "a page.html")
    page.wait_for_function("document.fonts.status == 'loaded'")
    states = page.evaluate("[...document.fonts].map(f => f.status)")
    page.context.close()
    assert states == ["loaded"]


BARE = "<!doctype html><meta charset=utf-8><title>t</title><table>" + ("<tr>" + "<td>0.123" * 10) * 1000


def laid_out(browser: Any, path: Path) -> tuple[float, float]:
    """Return the milliseconds that a page took to lay out, and all until it had loaded, in the time of its own thread.

    By the clock of the wall, what else runs on the machine is counted too, and whether a first picture was drawn
    before the page was said to have loaded.
    """
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    told = page.context.new_cdp_session(page)
    told.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(path.as_uri())
    took = {m["name"]: m["value"] * 1000 for m in told.send("Performance.getMetrics")["metrics"]}
    assert page.locator("tr").count() >= 1000
    page.context.close()
    return took["LayoutDuration"], took["TaskDuration"]


# Chinese takes a search for each sign where the system has no font that the style sheet names: 2.5 times and more
@pytest.mark.parametrize(("language", "laying", "loading"), [("en", 1.1, 1.4), ("zh", 1.5, 1.75)])
def test_long_tables_are_laid_out_at_once(
    browser: Any, tmp_path: Path, language: str, laying: float, loading: float
) -> None:
    """A bare table of 1,000 rows of ten cells, without any style, takes 50 ms: a page should take no more.

    English takes 0.8 of it and 1.35 without the chunks of its tables, Chinese 1.2 and 1.7; until a page has loaded it
    is 1.0 and 1.65, and 1.2 and 1.9. The best of some.
    """
    if language == "zh" and not named_font():
        pytest.skip("no font with Chinese characters that the style sheet names")
    huge, bare = tmp_path / "huge.html", tmp_path / "bare.html"
    huge.write_bytes(render(builders.huge(), ".html", language=language))
    bare.write_text(BARE, "utf-8")
    pages, bares = zip(*[(laid_out(browser, huge), laid_out(browser, bare)) for _ in range(8)], strict=True)
    assert min(layout for layout, _ in pages) <= laying * min(layout for layout, _ in bares)
    assert min(load for _, load in pages) <= loading * min(load for _, load in bares)


# what Jenkins sends with the pages of a build, unless somebody has set another policy
JENKINS = "sandbox allow-same-origin; default-src 'none'; img-src 'self'; style-src 'self';"


class Handler(SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", JENKINS)
        super().end_headers()

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def jenkins(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_on_paper_a_picture_stays_with_its_title_two_to_a_row(browser: Any, files: dict[str, Path]) -> None:
    """Rows of a grid break between a title and its picture; a line does not."""
    page = opened(browser, files["run"], viewport={"width": 700, "height": 900})
    page.emulate_media(media="print")
    told = page.evaluate("""() => [...document.querySelectorAll('.pictures')].map(p => [...p.children].map(e => {
      const r = e.getBoundingClientRect(); return [getComputedStyle(e).display, r.top, r.right]; }))""")
    drawn = [row for row in told if len(row) > 1]
    assert drawn
    assert {display for row in drawn for display, _, _ in row} == {"inline-block"}
    assert all(row[0][1] == row[1][1] and row[1][2] <= 700 for row in drawn)


@pytest.mark.parametrize(("beside", "language"), [(False, "en"), (True, "en"), (True, "zh")])
def test_under_the_policy_of_jenkins(browser: Any, tmp_path: Path, beside: bool, language: str) -> None:
    """All text and all charts are there; what stands beside the page is shown, images inside it stand as words."""
    write(builders.classifier(), tmp_path / "r.html", look=Look(sidecar_css=beside), language=language)
    with jenkins(tmp_path) as address:
        page = browser.new_context(java_script_enabled=False).new_page()
        refused: list[str] = []
        page.on("console", lambda m: refused.append(f"{m.text} {m.location['url']}") if m.type == "error" else None)
        page.goto(f"{address}/r.html")
        family = page.locator("h1").evaluate("e => getComputedStyle(e).marginTop")
        text = page.locator("body").inner_text()
        drawn = page.locator("svg").count()
        named = page.locator("img[alt]").count()
        shown = page.locator("img").evaluate_all("all => all.filter(e => e.naturalWidth > 0).length")
        bar = page.locator('path[fill="#3d6f9e"]').first.evaluate("e => getComputedStyle(e).fill")
        page.context.close()
    # images that travel inside are refused by that policy in every page; their words stand in their place
    assert named > 0
    assert shown == (named if beside else 0)
    assert sum("the image 'data:image" in e for e in refused) == (0 if beside else named)
    refused = [e for e in refused if "favicon" not in e and "the image 'data:image" not in e]
    letters = [e for e in refused if "Loading the font" in e]  # told of, though a font of the reader's stands for it
    assert len(letters) == (1 if language == "zh" else 0)
    assert len(refused) - len(letters) == (0 if beside else 1), refused
    assert (family == "1.6px") is beside
    assert (tmp_path / "r.woff2").exists() is (language == "zh")
    assert bar == "rgb(61, 111, 158)"  # its colour, not the black of a drawing that lost its style
    assert ("2 errors, 1 warning" if language == "en" else "2 个错误") in text
    assert drawn > 120


def test_beside_the_page_the_style_sheet_is_found_on_a_disk(browser: Any, tmp_path: Path) -> None:
    write(builders.smallest(), tmp_path / "r.html", look=Look(sidecar_css=True))
    page = opened(browser, tmp_path / "r.html")
    display = page.locator(".lead, .facts").first.evaluate("e => getComputedStyle(e).display")
    page.context.close()
    assert display == "grid"


def test_a_notebook_and_its_report_leave_each_other_alone(browser: Any, tmp_path: Path) -> None:
    notebook = "<!DOCTYPE html><style>p { color: rgb(1, 2, 3) }</style><p id=out>cell</p>" + frame(
        builders.classifier()
    )
    (tmp_path / "notebook.html").write_text(notebook, "utf-8")
    page = opened(browser, tmp_path / "notebook.html")
    inside = page.frame_locator("iframe")
    assert inside.locator("h1").inner_text() == "ResNet on CIFAR-10"
    colour = "e => getComputedStyle(e).color"
    margin = "e => getComputedStyle(e).marginTop"
    assert page.locator("#out").evaluate(colour) == "rgb(1, 2, 3)"
    assert inside.locator(".subtitle").evaluate(colour) != "rgb(1, 2, 3)"
    assert page.locator("#out").evaluate(margin) == "16px"
    inside.locator("nav a").last.click()  # links inside the frame stay inside
    assert page.url.endswith("notebook.html")
    page.context.close()


@pytest.mark.parametrize("width", [360, 1280, 2560])
def test_a_wide_screen_is_used_and_a_narrow_one_suffices(browser: Any, files: dict[str, Path], width: int) -> None:
    page = opened(browser, files["classifier"], viewport={"width": width, "height": 900})
    box = page.locator("main").bounding_box()
    page.context.close()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert box["width"] >= min(0.9 * width, 900)
