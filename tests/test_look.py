"""A house's look: colours that can be read, a logo that is clean, sections in its order, templates in a sandbox."""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure as Plot

import reportgen
from reportgen import page as blocks
from reportgen.errors import OptionError
from reportgen.look import Look
from reportgen.page import theme
from reportgen.page.build import build
from reportgen.page.own import ALWAYS
from reportgen.page.svg import serialise
from reportgen.render.assets import asset, style_hash
from reportgen.render.fill import screen_css
from reportgen.render.write import check_look, render

from . import builders


def html(look: Look | None = None, *sections: blocks.Section, name: str = "classifier") -> str:
    return render(builders.ALL[name](), ".html", look=look, sections=sections).decode("utf-8")


# ------------------------------------------------------------------------------------------------- colours


def test_the_colours_told_are_those_of_the_style_sheet() -> None:
    css = asset("report.css")
    light, dark = (
        dict(re.findall(r"--([\w-]+): (#\w+);", css[css.index(start) :].split("}")[0]))
        for start in (":root {", "  :root {")
    )
    assert {k: v if len(v) == 7 else "#ffffff" for k, v in light.items()} == theme.LIGHT
    assert dark == theme.DARK


def test_contrast_is_that_of_wcag() -> None:
    assert theme.contrast("#ffffff", "#000000") == pytest.approx(21)
    assert theme.contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=1e-3)  # the grey that just fails


@pytest.mark.parametrize("scheme", [theme.LIGHT, theme.DARK])
def test_our_own_colours_pass_the_check(scheme: dict[str, str]) -> None:
    theme._check(scheme, scheme, "colours")


def test_colours_stand_in_the_page_and_under_its_hash() -> None:
    look = Look(colours={"link": "#0a5c4a", "bar": "#0a7d63"}, dark={"link": "#7fd8bf"})
    text = html(look)
    css = re.search(r"<style>(.*?)</style>", text, re.S)
    assert css is not None
    assert css[1] == screen_css(look)
    assert f"style-src '{style_hash(css[1])}'" in text
    assert "--link:#0a5c4a" in css[1]
    assert '[fill="#3d6f9e"]{fill:#0a7d63}' in css[1]
    assert css[1].index("--link:#7fd8bf") > css[1].index("prefers-color-scheme:dark")


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ({"ink": "#aaaaaa"}, r"ink #aaaaaa on paper #ffffff has a contrast of 2\.3"),
        ({"paper": "#202020"}, "has a contrast of"),
        ({"lnk": "#000"}, "no colour 'lnk'"),
        ({"link": "red;} body{display:none"}, "Expected a colour"),
    ],
)
def test_colours_that_cannot_be_read_are_refused(table: dict[str, str], what: str) -> None:
    with pytest.raises(OptionError, match=what):
        check_look(Look(colours=table))


# ---------------------------------------------------------------------------------------------------- logo

SVG = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 60 30" fill="#0a5c4a">{}</svg>'


def logo(tmp_path: Path, data: str | bytes, name: str = "logo.svg") -> str:
    (tmp_path / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    page = build(builders.smallest(), look=Look(logo=str(tmp_path / name), logo_text="Acme"))
    assert page.logo is not None
    return serialise(page.logo)


def test_a_logo_is_cleaned_and_keeps_its_shape(tmp_path: Path) -> None:
    inside = '<style>*{fill:red}</style><script>alert(1)</script><path onclick="x()" d="M0 0h1.2345l.5.5z"/>'
    svg = logo(tmp_path, SVG.format(inside))
    assert svg == (
        '<svg fill="#0a5c4a" class="logo" viewBox="0 0 60 30" width="80" height="40" role="img">'
        '<title>Acme</title><path d="M0 0h1.2345l.5.5z"/></svg>'
    )


def test_a_gradient_finds_its_colours(tmp_path: Path) -> None:
    inside = '<defs><linearGradient id="g"><stop offset="0" stop-color="#fff"/></linearGradient></defs>'
    svg = logo(tmp_path, SVG.format(inside + '<rect width="9" height="9" fill="url(#g)"/>'))
    assert 'id="logo-0"' in svg
    assert 'fill="url(#logo-0)"' in svg


def test_a_png_goes_in_whole(tmp_path: Path) -> None:
    chunk = b"IHDR" + (30).to_bytes(4) + (10).to_bytes(4) + b"\x08\x02\x00\x00\x00"
    png = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4)
    assert 'width="120" height="40" role="img"' in logo(tmp_path, png, "logo.png")


@pytest.mark.parametrize(
    "data",
    [
        "<svg",
        "<html></html>",
        SVG.format('<use href="http://example.org/x.svg#a"/>'),
        SVG.format('<path fill="url(http://example.org/x)" d="M0 0"/>'),
        '<!DOCTYPE svg [<!ENTITY a "b">]>' + SVG.format("<text>&a;</text>"),
        "<svg xmlns='http://www.w3.org/2000/svg'/>",
    ],
)
def test_what_is_no_logo_is_refused_in_one_line(tmp_path: Path, data: str) -> None:
    with pytest.raises(OptionError) as told:
        logo(tmp_path, data)
    assert "\n" not in str(told.value)


# ---------------------------------------------------------------------------------- order, footer, sections


def ids(look: Look, *sections: blocks.Section) -> list[str]:
    return [s.id for s in build(builders.classifier(), look=look, own=sections).sections]


def test_sections_come_in_the_order_of_the_house() -> None:
    usual = ids(Look())
    mine = ids(Look(order=["provenance", "weights"], hide=["rules"]))
    assert mine[:3] == ["diagnoses", "provenance", "weights"]
    assert mine[3:] == [i for i in usual if i not in (*mine[:3], "rules")]
    assert ids(Look(order=["trials"])) == usual  # a section that this report does not have


@pytest.mark.parametrize("id", ALWAYS)
def test_the_truth_cannot_be_hidden(id: str) -> None:
    with pytest.raises(OptionError, match="always stays"):
        ids(Look(hide=[id]))


def test_an_unknown_section_is_refused() -> None:
    with pytest.raises(OptionError, match="no section 'wieghts'"):
        ids(Look(order=["wieghts"]))


def test_a_footer_is_text() -> None:
    assert "<p>Acme &lt;b&gt; &amp; sons</p>" in html(Look(footer="Acme <b> & sons"), name="smallest")


def plot() -> Plot:
    figure = Plot(figsize=(3, 2))
    axes = figure.add_subplot()
    axes.imshow([[1.0, 2.0], [3.0, 4.0]])
    axes.set_title("a < b")
    return figure


@pytest.mark.slow
def test_a_section_of_ones_own_stands_in_every_format(tmp_path: Path) -> None:
    parts = [
        blocks.Prose(paragraphs=["Measured by the device farm."]),
        blocks.table("Latency", ["Device", "ms", "Verdict"], [["A", 12.345, "good"], ["B", None, "?"]]),
        blocks.figure(plot(), title="Latency by batch", caption="Lower is better."),
    ]
    section = blocks.Section(id="farm", title="Device farm", blocks=parts, after="evaluation")
    order = ids(Look(), section)
    assert order[order.index("farm") - 1] == "evaluation"
    text = html(None, section)
    assert "<section id=farm" in text
    assert "12.3" in text
    assert 'href="data:image/png;base64,' in text
    assert "a &lt; b" in text
    assert "style=" not in text
    assert render(builders.classifier(), ".pdf", sections=[section]).startswith(b"%PDF")
    assert text == html(None, section)  # the same bytes each time


def test_drawing_leaves_the_figure_as_it_was() -> None:
    figure = plot()
    canvas = figure.canvas
    blocks.figure(figure, title="x")
    assert figure.canvas is canvas


@pytest.mark.parametrize(
    ("section", "what"),
    [
        (blocks.Section(id="Weights!", title="x"), "cannot be linked to"),
        (blocks.Section(id="weights", title="x"), "have the id 'weights'"),
        (
            blocks.Section(id="x", title="x", blocks=[blocks.table("A", ["a"], []), blocks.table("A", ["a"], [])]),
            "own-a",
        ),
        ("weights", "reportgen.page.Section"),
    ],
)
def test_a_section_that_does_not_fit_is_refused(section: Any, what: str) -> None:
    with pytest.raises(OptionError, match=what):
        build(builders.classifier(), own=[section])


def test_rows_must_fit_their_columns() -> None:
    with pytest.raises(OptionError, match="Expected 2 values"):
        blocks.table("A", ["a", "b"], [[1]])
    with pytest.raises(OptionError, match=r"matplotlib.figure.Figure"):
        blocks.figure("plot.png", title="x")


# ----------------------------------------------------------------------------------------------- templates

EXTENDS = '{% extends "reportgen/page.html.j2" %}\n'


def folder(tmp_path: Path, page: str = "", css: str = "") -> Look:
    if page:
        (tmp_path / "page.html.j2").write_text(page)
    if css:
        (tmp_path / "extra.css").write_text(css)
    return Look(templates=str(tmp_path))


def test_a_block_is_overridden_and_the_rest_stays(tmp_path: Path) -> None:
    look = folder(
        tmp_path, EXTENDS + "{% block footer %}<p>{{ page.title }}</p>{{ super() }}{% endblock %}", "p{margin:0}"
    )
    check_look(look)
    text = html(look, name="hostile")
    usual = html(name="hostile")
    assert text.count("<section") == usual.count("<section")
    assert "<img src=x" not in text  # the title is hostile, and escaped here too
    foot = text[text.index("<footer>") :]
    assert foot.index("&lt;") < foot.index("<p>Written by")
    assert "p{margin:0}" in text[text.index("<style>") : text.index("</style>")]


@pytest.mark.parametrize(
    ("page", "what"),
    [
        ("<html></html>", "does not begin with what it changes"),
        ('{% extends "page.html.j2" %}', "does not begin with what it changes"),
        (EXTENDS + "{% set x = 1 %}", ":2: only blocks"),
        (EXTENDS + "{% block foter %}{% endblock %}", "no block 'foter'"),
        (EXTENDS + "{% block footer %}{% include 'x' %}{% endblock %}", "cannot load other templates"),
        (EXTENDS + "{% block footer %}{% autoescape false %}{% endautoescape %}{% endblock %}", "page.html.j2"),
        (EXTENDS + "{% block footer %}{% endblock", ":2: "),
        (EXTENDS + "{% block footer %}{{ page.title | safe }}{% endblock %}", "safe"),
        (EXTENDS + "{% block footer %}{{ page.titel }}{% endblock %}", "titel"),
        (EXTENDS + "{% block footer %}{{ page.__class__.__mro__ }}{% endblock %}", "unsafe"),
        (EXTENDS + "{% block footer %}{{ figure.__globals__ }}{% endblock %}", "unsafe"),
        (EXTENDS + "{% block footer %}{{ page.sections.clear() }}{% endblock %}", "unsafe|safely"),
        (EXTENDS + "{% block footer %}{{ 1 / 0 }}{% endblock %}", "division"),
    ],
)
def test_what_is_more_than_a_block_is_refused_in_one_line(tmp_path: Path, page: str, what: str) -> None:
    look = folder(tmp_path, page)
    with pytest.raises(OptionError, match=what) as told:
        html(look, name="smallest")
    assert "\n" not in str(told.value)
    assert "page.html.j2" in str(told.value)


@pytest.mark.parametrize("css", ["</style><script>", "@import 'x'", "a{background:URL (x)}"])
def test_a_style_sheet_that_fetches_is_refused(tmp_path: Path, css: str) -> None:
    with pytest.raises(OptionError, match=r"extra\.css:2"):
        check_look(folder(tmp_path, css="a{}\n" + css))


def test_a_folder_without_templates_is_refused(tmp_path: Path) -> None:
    for look, what in ((Look(templates=str(tmp_path)), "holds no templates"), (Look(templates="nowhere"), "no folder")):
        with pytest.raises(OptionError, match=what):
            check_look(look)


# --------------------------------------------------------------------------------- beside and in notebooks


def test_the_style_sheet_goes_beside_the_page(tmp_path: Path) -> None:
    path = reportgen.write(builders.smallest(), tmp_path / "r.html", look=Look(sidecar_css=True))
    text = path.read_text()
    assert '<link rel="stylesheet" href="r.css">' in text
    assert "<style" not in text
    assert "style-src 'self'" in text
    assert (tmp_path / "r.css").read_text() == screen_css(Look())


def test_a_notebook_shows_the_page_in_a_frame_of_its_own() -> None:
    reportgen.read  # noqa: B018 (whoever has a report has asked the package for something)
    shown = builders.classifier()._repr_html_()
    assert shown.startswith('<iframe sandbox="" title="ResNet on CIFAR-10: 2 errors, 1 warning" srcdoc="&lt;!DOCTYPE')
    assert shown.count("<") == 2  # the frame and its end: all else is inside the attribute
    assert "report-data" not in shown


# ------------------------------------------------------------------------------------- on the command line


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    from reportgen.cli import main

    monkeypatch.setattr("sys.argv", ["reportgen", *arguments])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


def test_the_look_comes_from_settings_and_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reportgen.write(builders.smallest(), tmp_path / "r.json")
    (tmp_path / "ours").mkdir()
    (tmp_path / "ours" / "extra.css").write_text("p{margin:0}")
    (tmp_path / "ours" / "logo.svg").write_text(SVG.format('<path d="M0 0h9v9z"/>'))
    (tmp_path / "pyproject.toml").write_text(
        '[tool.reportgen.page]\nlogo = "ours/logo.svg"\nfooter = "Acme"\ncolours = { link = "#0a5c4a" }\n'
    )
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "render", "r.json", "--templates", "ours", "--sidecar-css") == 0
    page, css = (tmp_path / "r.html").read_text(), (tmp_path / "r.css").read_text()
    assert "<p>Acme</p>" in page
    assert "class=logo" in page
    assert "--link:#0a5c4a" in css
    assert css.endswith("p{margin:0}")


@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ('foter = "x"', "Did you mean 'footer'?"),
        ('logo = "none.svg"', "cannot be read"),
        ('order = "weights"', "a list of sections|array"),
        ('colours = { ink = "#ccc" }', "has a contrast of"),
    ],
)
def test_a_wrong_setting_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], setting: str, what: str
) -> None:
    reportgen.write(builders.smallest(), tmp_path / "r.json")
    (tmp_path / "reportgen.toml").write_text(f"[page]\n{setting}\n")
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "render", "r.json") == 2
    told = capsys.readouterr().err
    assert re.search(what, told)
    assert told.count("\n") == 1
    assert not (tmp_path / "r.html").exists()
