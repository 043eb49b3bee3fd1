"""Laying out in less memory: the same bytes, from fewer styles, and without what the pages were made from."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from reportgen.page.build import build
from reportgen.render import frugal
from reportgen.render.pdf import to_pdf

from . import builders


def plainly(html: str, fetcher: Any, fonts: Any, options: Any) -> Any:
    import weasyprint

    return weasyprint.HTML(string=html, url_fetcher=fetcher).render(font_config=fonts, **options)


@pytest.mark.slow
def test_the_bytes_are_those_of_a_plain_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a list, a table, charts, links to pages: markers, heads and numbers of pages are all there."""
    page = build(builders.checkpoint())
    spared = to_pdf(page)
    monkeypatch.setattr(frugal, "laid_out", plainly)
    assert to_pdf(page) == spared


@pytest.mark.slow
def test_a_release_without_the_names_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from weasyprint import html as defaults
    from weasyprint.document import Document

    page = build(builders.smallest())
    spared = to_pdf(page)
    monkeypatch.delattr(defaults, "UA")
    assert to_pdf(page) == spared
    monkeypatch.setattr(frugal, "hasattr", lambda thing, name: False, raising=False)
    assert Document is not None
    assert to_pdf(page) == spared


@pytest.mark.slow
def test_memory_is_spared(monkeypatch: pytest.MonkeyPatch) -> None:
    page = build(builders.classifier())  # of a short one the fonts are the most
    to_pdf(page)  # imports

    def peak(lay_out: Callable[..., Any]) -> int:
        monkeypatch.setattr(frugal, "laid_out", lay_out)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        to_pdf(page)
        taken = tracemalloc.get_traced_memory()[1] - before
        tracemalloc.stop()
        return taken

    spared, plain = peak(frugal.laid_out), peak(plainly)
    assert spared < 0.8 * plain


@pytest.mark.parametrize("frozen", [False, True])
def test_the_collector_is_left_as_it_was(frozen: bool) -> None:
    """What it had put aside before is still aside, and nothing else."""
    if frozen:
        gc.freeze()
    try:
        before = gc.get_freeze_count()
        to_pdf(build(builders.smallest()))
        assert gc.isenabled()
        assert (gc.get_freeze_count() > 0) is (before > 0) is frozen
    finally:
        gc.unfreeze()
