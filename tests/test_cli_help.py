"""The help of the commands in Chinese: whole, within the width of a terminal, and of the command that is named."""

from __future__ import annotations

import re

import pytest

from reportgen.cli import app, help
from reportgen.cli.app import main
from reportgen.page.lines import columns, wrapped

COMMANDS = ("render", "check", "rules", "extract", "schema", "examine", "train", "demo")


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_no_english_is_left_and_no_line_is_too_long(command: str) -> None:
    text = help.told(app, [*([command] if command else []), "--lang", "zh", "--help"], "zh")
    assert f"reportgen {command}".strip() in text.splitlines()[0]
    assert max(map(columns, text.splitlines())) <= help.WIDTH
    # what stands between Chinese is names of things; an English sentence would have its small words
    assert re.findall(r"\b(the|of|if|when|where|with|is|are|left|default|Usage|Options)\b", text) == []
    assert re.search(r"[\u4e00-\u9fff]", text)


def test_every_option_of_a_command_is_listed() -> None:
    chinese, english = (help.told(app, ["train"], language) for language in ("zh", "en"))
    options = re.findall(r"^  (?:-\w, )?(--[\w-]+)", english, re.M)
    assert len(options) > 15
    assert re.findall(r"^  (?:-\w, )?(--[\w-]+)", chinese, re.M) == options


def test_the_command_line_shows_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, said in (
        (["demo", "--help", "--lang=zh"], "用法：reportgen demo [选项]"),
        (["--lang", "zh", "--help"], "命令："),
        (["demo", "--help", "--lang", "en"], "Usage: "),
    ):
        monkeypatch.setattr("sys.argv", ["reportgen", *arguments])
        with pytest.raises(SystemExit) as done:
            main()
        assert done.value.code == 0
        assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "width", "lines"),
    [
        ("one two three", 8, ["one two", "three"]),
        ("一二三四，五", 8, ["一二三", "四，五"]),  # no line begins with a comma
        ("", 8, [""]),
        ("averylongwordthatdoesnotfit 一", 8, ["averylongwordthatdoesnotfit", "一"]),
    ],
)
def test_lines_are_broken_between_words_and_between_characters(text: str, width: int, lines: list[str]) -> None:
    assert wrapped(text, width) == lines
