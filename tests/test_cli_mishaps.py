"""Errors about a report are told in the language that the command asks for."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from reportgen.cli import mishaps
from reportgen.cli.app import main
from reportgen.cli.mishaps import HINTS, MESSAGES
from reportgen.errors import OutputError, TargetError
from reportgen.page.language import speaking

ROOT = Path(__file__).parents[1] / "reportgen"


def raised() -> dict[str, set[str]]:
    """Messages and hints of what reading and writing a report raises, with X1 for what they fill in."""
    told: dict[str, set[str]] = {"messages": set(), "hints": set()}
    for path in (ROOT / "document" / "codec.py", *sorted((ROOT / "render").glob("*.py"))):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("DocumentError", "OutputError"):
                told["messages"].add(text_of(node.args[0]))
                told["hints"] |= {text_of(k.value) for k in node.keywords if isinstance(k.value, ast.Constant)}
    return told


def text_of(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(str(p.value) if isinstance(p, ast.Constant) else "X1" for p in node.values)
    return str(node.value) if isinstance(node, ast.Constant) else ""


@pytest.mark.parametrize("kind", ["messages", "hints"])
def test_what_reading_and_writing_raise_has_words(kind: str) -> None:
    said = raised()[kind]
    assert len(said) > 5
    with speaking("zh"):
        lacking = [t for t in sorted(said) if mishaps._put(t, MESSAGES if kind == "messages" else HINTS) == t]
    assert lacking == [], "add them to cli/mishaps.py"


@pytest.mark.parametrize("template", [*MESSAGES, *HINTS])
def test_every_message_is_found_again_and_keeps_what_is_filled_in(template: str) -> None:
    filled = re.sub(r"\{(\w+)\}", r"<\1>", template)
    with speaking("zh"):
        told = mishaps._put(filled, (template,))
    assert re.search("[\u4e00-\u9fff]", told)
    assert set(re.findall(r"<\w+>", told)) == set(re.findall(r"<\w+>", filled))


def test_english_and_what_has_no_words_stay_as_they_are() -> None:
    error = OutputError("Cannot write a.pdf.", hint="The path is a folder: name a file.")
    assert mishaps.told(error, "en") == str(error)
    other = TargetError("'a.b:c' leads nowhere.", hint="Expected pkg.mod:name.")
    assert mishaps.told(other, "zh") == str(other)


def test_a_command_tells_it_in_chinese(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["reportgen", "render", str(tmp_path / "no.json"), "--lang", "zh", "-o", "x.html"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "无法读取" in told
    assert "Cannot read" not in told
    assert "没有那个文件或目录" in told
