"""Page -> PDF: fetches nothing, embeds its fonts, is cut where it must be, and is tagged."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from reportgen.page.build import build
from reportgen.page.fold import folded
from reportgen.render import pdf
from reportgen.render.pdf import to_pdf

from . import builders

pikepdf = pytest.importorskip("pikepdf")


@pytest.fixture(scope="module")
def document() -> Any:
    with pikepdf.open(io.BytesIO(to_pdf(build(builders.classifier())))) as opened:
        yield opened


def test_is_sound_tagged_and_has_a_title(document: Any) -> None:
    assert document.check_pdf_syntax() == []
    assert document.Root.Lang == "en"
    assert document.Root.MarkInfo.Marked
    assert document.docinfo["/Title"] == "ResNet on CIFAR-10: 2 errors, 1 warning"
    assert "/CreationDate" not in document.docinfo
    assert "/AF" not in document.Root
    assert not document.attachments


def test_fonts_are_ours_and_embedded(document: Any) -> None:
    fonts = [f for f in document.objects if isinstance(f, pikepdf.Dictionary) and f.get("/Type") == "/FontDescriptor"]
    assert fonts
    for font in fonts:
        assert "Report-" in str(font.FontName)
        assert "/FontFile2" in font or "/FontFile3" in font


def test_every_figure_has_words(document: Any) -> None:
    figures = [f for f in document.objects if isinstance(f, pikepdf.Dictionary) and f.get("/S") == "/Figure"]
    assert len(figures) > 50
    assert all("/Alt" in f for f in figures)


def test_has_bookmarks(document: Any) -> None:
    with document.open_outline() as outline:
        titles = [item.title for top in outline.root for item in (top, *top.children)]
    assert {"Diagnoses", "Evaluation", "Coverage"} <= set(titles)


@pytest.mark.parametrize("name", ["smallest", "hostile"])
def test_any_report_can_be_printed(name: str) -> None:
    data = to_pdf(build(builders.ALL[name]()))
    with pikepdf.open(io.BytesIO(data)) as opened:
        assert opened.check_pdf_syntax() == []


@pytest.mark.parametrize(
    "address",
    ["http://127.0.0.1:9/x", "file:///etc/hostname", "report-font:other"],
)
def test_a_page_that_fetches_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from weasyprint.urls import FatalURLFetchingError

    monkeypatch.setattr(pdf, "fill", lambda page, style, templates: f'<img src="{address}">')
    with pytest.raises(FatalURLFetchingError):
        to_pdf(build(builders.smallest()))


def test_print_style_sheet_is_understood(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="weasyprint"):
        to_pdf(build(builders.checkpoint()))
    assert [r.getMessage() for r in caplog.records] == []


def test_long_reports_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    short = folded(build(builders.huge()), each=pdf.MAX_TABLE_ROWS, together=pdf.MAX_ROWS)
    assert max(len(t.rows) for t in short.tables) <= 300
    assert short.n_rows <= 900


def test_no_grid_in_print() -> None:
    css = (Path(__file__).parents[1] / "templates" / "print.css").read_text()
    assert not re.search(r"display:\s*(grid|flex)", css)
