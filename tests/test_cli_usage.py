"""What is wrong with a command line is told in the language that it asks for."""

from __future__ import annotations

import sys

import pytest

from reportgen.cli import main, usage


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    monkeypatch.setattr(sys, "argv", ["reportgen", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    return told.removeprefix("reportgen: ").strip()


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["demo", "--sed", "3"], "没有选项 --sed：是否指 --seed？"),
        (["demo", "--seed", "x"], "--seed 的值不合适：应为整数。"),
        (["render"], "缺少参数 report。"),
        (["render", "a", "b", "c"], "参数过多：b c。"),
        (["check", "x.json", "--fail-on", "bad"], "--fail-on 的值不合适：bad 不在 'info', 'warning', 'error' 之中。"),
    ],
)
def test_in_chinese(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], wanted: str
) -> None:
    assert refused(monkeypatch, capsys, *arguments, "--lang", "zh") == wanted
    english = refused(monkeypatch, capsys, *arguments)
    assert english.isascii()
    assert "Value error" not in english  # what the parser calls it, before it says it
    assert english != wanted


@pytest.mark.parametrize(
    ("why", "wanted"),
    [
        ("Input should be a valid integer, unable to parse string as an integer", "应为整数。"),
        ("'x' is not a valid int range.", "应为整数。"),
        ("'x' is not a valid float.", "应为数字。"),
        ("Input should be greater than or equal to 0", "应不小于 0。"),
        ("-4 is not in the range 0<=x<=9.", "应满足 0<=x<=9。"),
    ],
)
def test_every_parser_is_understood(why: str, wanted: str) -> None:
    """Those before 0.29 check values themselves; later ones leave it to pydantic."""
    assert usage.told(f"Invalid value for '--seed': {why}", ["--lang", "zh"]) == f"--seed 的值不合适：{wanted}"


@pytest.mark.parametrize("value", ["-4", "99999999999"])
def test_a_number_out_of_range(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str) -> None:
    assert refused(monkeypatch, capsys, "demo", "--seed", value, "--lang", "zh").startswith("--seed 的值不合适：应")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["demo", "--lang", "zh"], "zh"),
        (["demo", "--lang=zh", "-o"], "zh"),
        (["--lang", "fr"], "en"),
        (["demo", "--lang"], "en"),
        ([], "en"),
    ],
)
def test_the_language_is_read_off_a_line_that_cannot_be_parsed(arguments: list[str], wanted: str) -> None:
    assert usage.language(arguments) == wanted


def test_a_message_that_is_not_known_is_told_as_it_is() -> None:
    assert usage.told("Something\n new.", ["--lang", "zh"]) == "Something new."
