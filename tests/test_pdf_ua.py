"""Printed reports keep every rule of PDF/UA-1 that a machine can check."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from reportgen.render.write import render

from . import showcase

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def validator() -> Any:
    return pytest.importorskip("page", reason="page-validation is not installed")


def broken(validator: Any, data: bytes, folder: Path) -> list[str]:
    (folder / "report.pdf").write_bytes(data)
    report = validator.validate_pdf(str(folder / "report.pdf"), profile="pdf/ua-1")
    assert report.rules.total > 100
    return [f"{f.rule_id}: {f.message}" for f in report.failures]


@pytest.mark.parametrize(
    ("name", "language"),
    [("classifier", "en"), ("classifier", "zh"), ("hostile", "en"), ("attention", "zh"), ("run", "en"), ("huge", "en")],
)
def test_a_pdf_keeps_the_rules_of_accessibility(name: str, language: str, validator: Any, tmp_path: Path) -> None:
    assert broken(validator, render(showcase.REPORTS[name](), ".pdf", language=language), tmp_path) == []


def test_the_validator_would_find_something(validator: Any, tmp_path: Path) -> None:
    pikepdf = pytest.importorskip("pikepdf")
    with pikepdf.open(io.BytesIO(render(showcase.REPORTS["smallest"](), ".pdf"))) as opened:
        del opened.Root.MarkInfo
        opened.save(tmp_path / "unmarked.pdf")
    assert broken(validator, (tmp_path / "unmarked.pdf").read_bytes(), tmp_path)
