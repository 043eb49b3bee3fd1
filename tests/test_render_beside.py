"""Images in files beside a page: each once, by what it holds; the page points to them and carries its data in full."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from reportgen.document.codec import encode
from reportgen.document.facts import Report
from reportgen.errors import OutputError
from reportgen.look import Look
from reportgen.page.build import build
from reportgen.render.beside import images
from reportgen.render.carrier import extract
from reportgen.render.write import write

from . import builders


@pytest.fixture(scope="module")
def report() -> Report:
    return builders.classifier(3)


def test_every_image_lies_in_the_folder_and_none_inside(report: Report, tmp_path: Path) -> None:
    write(report, tmp_path / "r.html", look=Look(sidecar_css=True))
    html = (tmp_path / "r.html").read_text("utf-8")
    told = re.findall(r'<img class=px src="(r\.images/[0-9a-f]{12}\.(?:png|webp))"', html)
    assert len(told) == sum(len(t.images) for g in build(report).galleries for t in g.tiles) > 5
    assert "data:image" not in html
    assert sorted(set(told)) == sorted(f"r.images/{file.name}" for file in (tmp_path / "r.images").iterdir())
    assert all((tmp_path / place).read_bytes()[:4] in (b"\x89PNG", b"RIFF") for place in told)
    assert "img-src 'self' data:" in html


def test_the_data_come_back_whole(report: Report, tmp_path: Path) -> None:
    write(report, tmp_path / "r.html", look=Look(sidecar_css=True))
    assert encode(extract(tmp_path / "r.html")) == encode(report)


def test_a_page_without_images_makes_no_folder(tmp_path: Path) -> None:
    write(builders.smallest(), tmp_path / "r.html", look=Look(sidecar_css=True))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.css", "r.html"]


def test_what_holds_no_image_stays_the_same_object(report: Report) -> None:
    page = build(report)
    moved, files = images(page, "f")
    assert files
    assert [a is b for a, b in zip(page.sections, moved.sections, strict=True)].count(False) == 1
    assert images(build(builders.smallest()), "f")[1] == {}


def test_a_file_in_the_place_of_the_folder_is_told(report: Report, tmp_path: Path) -> None:
    (tmp_path / "r.images").write_text("mine")
    with pytest.raises(OutputError, match=r"Cannot write .*r\.images"):
        write(report, tmp_path / "r.html", look=Look(sidecar_css=True))
    assert (tmp_path / "r.images").read_text() == "mine"
