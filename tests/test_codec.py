"""Report <-> JSON."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reportgen.document.codec import FORMAT_VERSION, decode, encode, read, schema
from reportgen.document.facts import (
    Classification,
    Coverage,
    Diagnosis,
    Finding,
    Meta,
    Report,
    Severity,
    SubjectFacts,
)
from reportgen.document.history import History, Series
from reportgen.document.stats import Histogram, TensorStats
from reportgen.errors import DocumentError

numbers = st.floats(allow_nan=False, allow_infinity=False)
findings = st.builds(
    Finding,
    rule=st.text(),
    severity=st.sampled_from(list(Severity)),
    subject=st.text(),
    section=st.text(),
    evidence=st.dictionaries(st.text(), numbers, max_size=3),
    detail=st.dictionaries(st.text(), st.text(), max_size=2),
)
reports = st.builds(
    Report,
    format_version=st.just(FORMAT_VERSION),
    title=st.text(),
    meta=st.builds(Meta, created=st.text(), seconds=st.dictionaries(st.text(), numbers, max_size=3)),
    subject=st.builds(SubjectFacts, name=st.text(), kind=st.sampled_from(["model", "checkpoint"])),
    coverage=st.lists(
        st.builds(Coverage, part=st.text(), status=st.sampled_from(["measured", "partial"]), reason=st.text()),
        max_size=3,
    ),
    training=st.none()
    | st.builds(
        History,
        series=st.lists(
            st.builds(
                Series,
                name=st.text(),
                axis=st.sampled_from(["epoch", "step"]),
                x=st.just([1.0, 2.0]),
                y=st.lists(numbers | st.none(), min_size=2, max_size=2),
                n=st.integers(0, 9),
            ),
            max_size=2,
        ),
    ),
    findings=st.lists(findings, max_size=3),
    diagnoses=st.lists(
        st.builds(
            Diagnosis,
            cause=st.text(),
            severity=st.sampled_from(list(Severity)),
            subject=st.text(),
            findings=st.lists(findings, max_size=2),
        ),
        max_size=2,
    ),
)


def smallest() -> Report:
    return Report(format_version=FORMAT_VERSION, title="t", meta=Meta(), subject=SubjectFacts(name="n", kind="model"))


@settings(max_examples=60, deadline=None)
@given(reports)
def test_a_report_comes_back_as_it_was(report: Report) -> None:
    data = encode(report)
    assert decode(data) == report
    assert encode(decode(data)) == data


def test_the_file_is_plain_json_without_nan() -> None:
    parsed = json.loads(encode(smallest()), parse_constant=lambda name: pytest.fail(f"found {name}"))
    assert parsed["format_version"] == FORMAT_VERSION
    assert parsed["weights"] is None


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1, 2]", "no report"),
        (b'{"format_version": true}', "no report"),
        (b'{"format_version": 99}', "reads up to"),
        (b'{"format_version": 0}', "no report"),
        (b'{"format_version": 1, "title": 3}', "damaged"),
    ],
)
def test_other_files_are_refused_in_one_line(data: bytes, word: str) -> None:
    with pytest.raises(DocumentError, match=word) as caught:
        decode(data, "x.json")
    assert "x.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"nothing\.json"):
        read(tmp_path / "nothing.json")


def test_the_schema_names_every_part() -> None:
    table = json.loads(schema())
    assert {"weights", "activations", "gradients"} <= set(table["$defs"]["Report"]["properties"])


def test_the_verdict_is_the_worst_diagnosis() -> None:
    def diagnosis(severity: Severity) -> Diagnosis:
        return Diagnosis(cause="dead-relu", severity=severity, subject="x", findings=[])

    assert smallest().verdict is None
    mixed = [diagnosis(Severity.INFO), diagnosis(Severity.ERROR), diagnosis(Severity.WARNING)]
    report = Report(
        format_version=1, title="t", meta=Meta(), subject=SubjectFacts(name="n", kind="model"), diagnoses=mixed
    )
    assert report.verdict is Severity.ERROR


def test_half_a_character_in_a_name_does_not_lose_the_report() -> None:
    report = Report(
        format_version=1,
        title="a\ud800b",
        meta=Meta(sources={"\udc00": "x"}),
        subject=SubjectFacts(name="n", kind="model"),
    )
    back = decode(encode(report))
    assert back.title == "a\ufffdb"
    assert back.meta.sources == {"\ufffd": "x"}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TensorStats(count=-1), "negative"),
        (lambda: TensorStats(count=1, nan=2), "negative"),
        (lambda: Histogram(bins=[1], counts=[]), "one count"),
        (lambda: Histogram(bins=[5000], counts=[1]), "one count"),
        (lambda: Classification(classes=["a"], confusion=[[1, 2]]), "square"),
        (lambda: Series(name="s", axis="epoch", x=[1.0], y=[], n=1), "places"),
    ],
)
def test_facts_that_contradict_themselves_cannot_be_made(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()
