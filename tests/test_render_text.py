"""Markdown and JUnit: what a pull request and a CI server show."""

from __future__ import annotations

import re
from collections.abc import Callable
from xml.etree import ElementTree

import pytest

from reportgen.document.facts import Severity
from reportgen.render.junit import to_junit
from reportgen.render.markdown import MAX_BYTES, escaped, to_markdown

from . import builders


def test_golden_markdown(golden: Callable[[str, bytes], None]) -> None:
    golden("checkpoint.md", to_markdown(builders.page("checkpoint")))


def test_golden_junit(golden: Callable[[str, bytes], None]) -> None:
    golden("checkpoint.xml", to_junit(builders.checkpoint()))


@pytest.mark.parametrize("name", builders.ALL)
def test_markdown_is_small_and_begins_with_the_verdict(name: str) -> None:
    page = builders.page(name)
    text = to_markdown(page)
    assert len(text) <= MAX_BYTES
    assert text.decode().splitlines()[0].endswith(escaped(page.verdict.words))


@pytest.mark.parametrize("name", builders.HOSTILE_NAMES)
def test_markdown_shows_names_as_they_are(name: str) -> None:
    shown = escaped(name)
    assert "\n" not in shown
    assert "<" not in shown
    assert not re.search(r"(?<!\\)[|`\[\]*]", shown)
    assert not re.search(r"@\w|://", shown)


def test_markdown_of_a_hostile_report_has_no_live_markup() -> None:
    text = to_markdown(builders.page("hostile")).decode()
    assert "<img" not in text
    assert "](" not in text.replace(r"\]", "")
    assert set(re.findall(r"<[^>]+>", text)) <= {"<details>", "</details>", "<summary>", "</summary>"}
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows} == {4}


@pytest.mark.parametrize("name", builders.ALL)
def test_junit_has_the_shape_that_strict_readers_accept(name: str) -> None:
    root = ElementTree.fromstring(to_junit(builders.ALL[name]()))
    suite = root[0]
    assert set(root.attrib) == {"name", "tests", "failures", "errors", "time"}
    assert set(suite.attrib) == {"name", "tests", "failures", "errors", "skipped", "time"}
    cases = list(suite)
    assert len(cases) == int(suite.attrib["tests"]) > 0
    assert sum(case.find("failure") is not None for case in cases) == int(suite.attrib["failures"])
    assert sum(case.find("skipped") is not None for case in cases) == int(suite.attrib["skipped"])
    names = [(case.attrib["classname"], case.attrib["name"]) for case in cases]
    assert len(set(names)) == len(names)
    for case in cases:
        assert set(case.attrib) == {"classname", "name", "time"}
        assert re.fullmatch(r"\d+\.\d{3}", case.attrib["time"])


def test_junit_threshold() -> None:
    def failures(fail_on: Severity) -> str:
        return ElementTree.fromstring(to_junit(builders.classifier(), fail_on)).attrib["failures"]

    assert [failures(s) for s in (Severity.ERROR, Severity.WARNING, Severity.INFO)] == ["2", "3", "5"]


def test_junit_failures_tell_everything_in_their_text() -> None:
    root = ElementTree.fromstring(to_junit(builders.classifier()))
    first = root.find(".//failure")
    assert first is not None
    assert first.text is not None
    assert "remove the softmax" in first.text


@pytest.mark.parametrize(
    ("text", "shown"),
    [("1.64 k", "1.64 k"), ("13.3 %", "13.3 %"), ("1. x", "1\\. x"), ("2)", "2\\)"), ("- x", "\\- x"), ("+", "\\+")],
)
def test_only_what_would_begin_a_list_is_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown
