"""Pictures on the page: every one has words beside it, travels once, and is told where there is no place for it."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from reportgen.document.facts import Report
from reportgen.document.pictures import PictureFacts, Projection, SampleView
from reportgen.page.blocks import Figure, Gallery, Prose
from reportgen.page.build import build
from reportgen.page.clouds import cloud
from reportgen.page.svg import serialise
from reportgen.render.carrier import extract
from reportgen.render.write import render, write

from . import builders


def facts() -> PictureFacts:
    found = builders.classifier().pictures
    assert found is not None
    return found


def blocks(report: Report) -> list[object]:
    section = build(report).section("pictures")
    assert section is not None
    return list(section.blocks)


def images(page: str) -> list[str]:
    return re.findall(r'<img class=px src="data:image/\w+;base64,([^"]+)" width=\d+ height=\d+ alt="[^"]{8,}">', page)


@pytest.mark.parametrize("name", ["classifier", "hostile"])
def test_every_picture_is_there_with_words(name: str) -> None:
    page = render(builders.ALL[name](), ".html").decode()
    assert len(images(page)) == page.count("<img") == 9
    wanted = {base64.b64encode(p.data).decode() for p in [facts().samples[0].picture, facts().samples[0].heat] if p}
    assert wanted <= set(images(page))
    assert "onerror=" not in re.sub(r"&lt;.*?(&gt;|…)", "", page)


@pytest.mark.slow
def test_a_picture_travels_once_and_comes_back(tmp_path: Path) -> None:
    report = builders.classifier()
    write(report, tmp_path / "report.html")
    assert extract(tmp_path / "report.html") == report
    without = replace(report, pictures=None)
    size = len(render(report, ".html")) - len(render(without, ".html"))
    picture = facts().samples[0].picture
    assert picture is not None
    bulky = replace(facts(), samples=[replace(facts().samples[0], heat=None)] * 4)
    again = len(render(replace(report, pictures=bulky), ".html"))
    assert size > 0
    # four tiles of the same picture: shown four times, carried not at all
    assert again - len(render(without, ".html")) < size + 4 * (2 * len(picture.data) + 400)


def test_the_orange_pictures_are_explained_beside_the_samples_that_have_them() -> None:
    seen = facts().samples[0]
    plain = replace(seen, heat=None)

    def said(*samples: SampleView) -> str:
        report = replace(builders.classifier(), pictures=replace(facts(), samples=list(samples)))
        return render(report, ".html").decode()

    some = said(seen, seen, plain, replace(seen, role="worst"))
    assert "In orange beside the first 2: where the maps of" in some
    assert "In orange as above" in some
    assert "In orange beside it: where the maps of" in said(seen, seen)
    alone = said(plain, replace(seen, role="worst"))
    assert "In orange beside it: where the maps of" in alone
    assert "In orange as above" not in alone
    assert "In orange" not in said(plain)


def test_what_is_said_of_pictures() -> None:
    said = builders.html("classifier").decode()
    for words in (
        "No normalisation is known that could be undone: black is −1, white 2.",
        "False colours: the channels 0, 2, 4 are shown as red, green and blue.",
        "Of each class the samples with the lowest hash, of 512",
        "where the maps of layer1.0.conv1 speak for the class that was said",
        "3 of 64 are dead",
        "2 channels are flat on all 8 samples",
        "19 are not shown",
        "4 pictures were left out, of feature maps",
        "31.2 KiB".replace(" ", "\u00a0"),
        "Not made: Grad-CAM (no gradient leads to layer1.0.conv1).",
        "between two halves of the real samples 0.200",
        "Both axes hold 40.0\u00a0% and 20.0\u00a0% of the variance.",
    ):
        assert words in said, words


def test_a_mistake_is_marked_and_names_are_those_of_the_classes() -> None:
    gallery = next(b for b in blocks(builders.classifier()) if isinstance(b, Gallery))
    tile = gallery.tiles[0]
    assert tile.tone == "error"
    classes = builders.classification().classification.classes  # type: ignore[union-attr]
    assert tile.lines[0] == f"{classes[1]} → {classes[2]}"
    right = replace(facts(), samples=[replace(facts().samples[0], prediction=1.0)])
    gallery = next(b for b in blocks(replace(builders.classifier(), pictures=right)) if isinstance(b, Gallery))
    assert gallery.tiles[0].tone == ""
    assert gallery.tiles[0].lines[0] == classes[1]


def test_pictures_are_small_whole_multiples_of_their_pixels() -> None:
    for gallery in builders.page("classifier").galleries:
        for image in (i for t in gallery.tiles for i in t.images):
            assert image.width <= 600
            found = [facts().samples[0].picture, facts().kernels[0].picture, facts().maps[0].picture]
            width = next((p.width for p in found if p is not None and p.data == image.data), None)
            assert width is None or image.width % width == 0


@pytest.mark.slow
def test_markdown_says_pictures_in_words_and_the_pdf_shows_them() -> None:
    text = render(builders.classifier(), ".md").decode()
    assert "- Kernels of convolutions\n  - layer1.0.conv1: 64 × 3 × 7 × 7" in text
    assert "data:image" not in text
    pikepdf = pytest.importorskip("pikepdf")
    import io

    with pikepdf.open(io.BytesIO(render(builders.classifier(), ".pdf"))) as pdf:
        found = {name for page in pdf.pages for name in page.get_images()}
        assert len(found) >= 5


def test_a_report_without_pictures_has_no_such_section() -> None:
    assert build(replace(builders.classifier(), pictures=None)).section("pictures") is None
    empty = PictureFacts(budget=10, used=0)
    assert build(replace(builders.classifier(), pictures=empty)).section("pictures") is None
    only_told = replace(empty, left_out=facts().left_out)
    found = blocks(replace(builders.classifier(), pictures=only_told))
    assert [type(b) for b in found] == [Prose]


def test_kinds_of_points_differ_in_shape_and_colour() -> None:
    drawing = serialise(cloud("title", [0, 500, 999] * 12, [0, 400, 999] * 12, list(range(36)), {}))
    looks = re.findall(r'<path d="M\d+ \d+([a-z][^"]+)" [^>]*?"(#\w+)"[^>]*><text', drawing)
    assert len(looks) == len(set(looks)) == 13  # the twelve commonest kinds, and the others together
    assert "other classes: 24 samples" in drawing
    width, words = re.search(r'viewBox="0 0 (\d+)', drawing), re.findall(r'<text x="?(\d+)', drawing)
    assert width is not None
    assert int(width[1]) * 0.78 <= 320  # what a phone of 360 pixels shows at once, its legend too
    assert max(map(int, words)) < int(width[1])
    flat = serialise(cloud("title", [0, 999], [0, 0], [0, 1], {0: "a<b", 1: "c"}, [True, False]))
    assert "a&lt;b" in flat
    assert "said wrongly: 1 sample<" in flat


def test_numbers_are_shown_by_fifths() -> None:
    laid = Projection(
        method="tsne",
        layer="fc",
        n_features=4,
        seen=9,
        x=[1, 2, 3, 4, 5],
        y=[5, 4, 3, 2, 1],
        targets=[0, 1, 2, 3, 4],
        numbers=True,
    )
    report = replace(builders.classifier(), pictures=PictureFacts(budget=1, used=0, task="numbers", projection=laid))
    (figure,) = blocks(report)
    assert isinstance(figure, Figure)
    assert "t-SNE" in figure.caption
    assert "highest fifth" in serialise(figure.drawing)
