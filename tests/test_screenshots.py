"""What pages look like, part by part, against kept thumbnails: for layouts that break, not for letters that move.

Fonts differ between machines, so lines break elsewhere and everything beneath moves. Each part of a page is therefore
pictured by itself, squeezed to a small grey square of its own and blurred: what is left is where text, tables, charts
and empty paper lie. A change of letters moves a square by a few grey levels in the mean; a lost style sheet, a chart
that is gone or two columns that have become one move it by many.
"""

from __future__ import annotations

import io
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from . import showcase
from .conftest import GOLDEN
from .test_browser import UNFOLD, browser  # noqa: F401  (a fixture)

pytestmark = pytest.mark.slow

SIDE = 40
NAMES = ("checkpoint", "classifier", "run", "chinese")
MANNERS = {"": ("light", 1280), "-dark": ("dark", 1280), "-phone": ("light", 360)}  # end of a file's name -> what of
MOST = 9.0  # grey levels of 255, in the mean of a part; other fonts take some 3, a broken layout 15 and more
PARTS = "header.cover, main > section"


def square(picture: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    grey = Image.open(io.BytesIO(picture)).convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(grey.filter(ImageFilter.GaussianBlur(1.2)))


def sheet(browser: Any, html: bytes, folder: Path, manner: str = "") -> np.ndarray[Any, np.dtype[np.uint8]]:  # noqa: F811
    """Return the parts of a page beneath each other, each as a square."""
    (folder / "page.html").write_bytes(html)
    scheme, width = MANNERS[manner]
    page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
    page.goto((folder / "page.html").as_uri())
    page.evaluate(UNFOLD)
    squares = [square(part.screenshot()) for part in page.locator(PARTS).all()]
    page.context.close()
    return np.concatenate(squares)


def distance(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """Return how much the part differs that differs most; infinite where there is another number of parts."""
    if one.shape != other.shape:
        return float("inf")
    apart = np.abs(one.astype(float) - other.astype(float))
    return float(apart.reshape(-1, SIDE * SIDE).mean(1).max())


def compared(seen: np.ndarray[Any, Any], name: str, most: float, request: pytest.FixtureRequest) -> None:
    """Fail where it is not what was kept under that name."""
    kept, actual = GOLDEN / f"{name}.png", GOLDEN / f"{name}.actual.png"
    if request.config.getoption("--update-golden"):
        Image.fromarray(seen).save(kept, optimize=True)
    apart = distance(seen, np.asarray(Image.open(kept)))
    if apart > most:
        Image.fromarray(seen).save(actual)
        pytest.fail(f"{name} looks different by {apart:.1f}: see {actual.name}, or run with --update-golden")
    actual.unlink(missing_ok=True)


@pytest.mark.parametrize("manner", MANNERS)
@pytest.mark.parametrize("name", NAMES)
def test_a_page_looks_as_it_did(
    browser: Any,  # noqa: F811
    tmp_path: Path,
    request: pytest.FixtureRequest,
    name: str,
    manner: str,
) -> None:
    compared(sheet(browser, showcase.html(name), tmp_path, manner), name + manner, MOST, request)


@pytest.mark.parametrize("name", NAMES)
def test_a_pdf_looks_as_it_did(tmp_path: Path, request: pytest.FixtureRequest, name: str) -> None:
    """It brings its fonts, so the same letters stand in the same places wherever it is drawn."""
    (tmp_path / "report.pdf").write_bytes(showcase.pdf(name))
    subprocess.run(["pdftoppm", "-r", "40", "-png", tmp_path / "report.pdf", tmp_path / "at"], check=True, timeout=60)
    pages = [square(path.read_bytes()) for path in sorted(tmp_path.glob("at-*.png"))]
    compared(np.concatenate(pages), f"{name}-pdf", MOST, request)


BREAKS = {
    "the style sheet is lost": (b"<style>", b"<style media=print>"),
    "the first screen is gone": (b".heads{display:grid", b".heads{display:none"),
    "key figures stand in one column": (
        b".lead{display:grid;grid-template-columns:repeat(auto-fill,minmax(8.6rem,1fr))",
        b".lead>*{min-height:6rem}.lead{display:block;grid-template-columns:none",
    ),
    "charts are black": (
        b"@media screen and (max-width:44rem){",
        b"svg *{fill:#000}@media screen and (max-width:44rem){",
    ),
    "cells stand beneath each other": (b"th,td{", b"td{display:block}th,td{"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_a_broken_layout_is_seen(browser: Any, tmp_path: Path, what: str) -> None:  # noqa: F811
    found, put = BREAKS[what]
    html = showcase.html("classifier")
    assert found in html
    policy = html.index(b"<meta http-equiv"), html.index(b'<meta name="viewport"')
    without = html[: policy[0]] + html[policy[1] :]  # another style sheet has another hash
    kept = np.asarray(Image.open(GOLDEN / "classifier.png"))
    assert distance(sheet(browser, without.replace(found, put), tmp_path), kept) > MOST


def test_other_fonts_are_no_break(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    html = showcase.html("classifier")
    policy = html.index(b"<meta http-equiv"), html.index(b'<meta name="viewport"')
    other = (html[: policy[0]] + html[policy[1] :]).replace(b'"Inter",', b'"DejaVu Sans Condensed",')
    other = other.replace(b'"Iowan Old Style",', b'"DejaVu Sans",')
    kept = np.asarray(Image.open(GOLDEN / "classifier.png"))
    assert distance(sheet(browser, other, tmp_path), kept) <= MOST


@pytest.mark.parametrize("manner", ["-dark", "-phone"])
@pytest.mark.parametrize("name", NAMES)
def test_a_theme_that_is_lost_would_be_seen(name: str, manner: str) -> None:
    plain, other = (np.asarray(Image.open(GOLDEN / f"{name}{end}.png")) for end in ("", manner))
    assert distance(plain, other) > MOST
