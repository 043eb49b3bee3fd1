"""Names of tokens, however they are given, and where a report shows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.document.codec import decode, encode
from reportgen.document.facts import Report
from reportgen.errors import OptionError
from reportgen.page import tokens
from reportgen.page.build import build
from reportgen.render.html import to_html
from reportgen.subject.vocabulary import names_of

WORDS = ["the", "cat", "sat", " on", "mat"]


class _Hub:
    def convert_ids_to_tokens(self, n: int) -> str:
        return WORDS[n]


class _Decoder:
    def decode(self, numbers: list[int]) -> str:
        return " ".join(WORDS[n] for n in numbers)


@pytest.mark.parametrize(
    "source",
    [
        WORDS,
        tuple(WORDS),
        dict(enumerate(WORDS)),
        {str(i): word for i, word in enumerate(WORDS)},
        {word: i for i, word in enumerate(WORDS)},
        _Hub(),
        _Decoder(),
        WORDS.__getitem__,
    ],
)
def test_names_are_taken_from_whatever_is_at_hand(source: Any) -> None:
    names = names_of(source)
    assert names is not None
    assert [names(n) for n in range(5)] == WORDS


def test_names_are_read_from_files(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS), "utf-8")
    (tmp_path / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(WORDS)}), "utf-8")
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {w: i for i, w in enumerate(WORDS)}}}))
    for file in tmp_path.iterdir():
        names = names_of(str(file))
        assert names is not None
        assert [names(n) for n in range(5)] == WORDS
        assert names(7) is None
    assert names_of(None) is None


@pytest.mark.parametrize("source", [7, {"a": "b"}, "no/such/file.txt"])
def test_what_names_no_tokens_is_refused(source: Any) -> None:
    with pytest.raises(OptionError):
        names_of(source)
    with pytest.raises(OptionError):
        reportgen.examine(nn.Linear(2, 2), options=reportgen.Options(tokens=source))


class Model(nn.Module):
    """Names a token at each place, with one layer of attention."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding, self.head = nn.Embedding(5, 8), nn.Linear(8, 5)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        h = self.embedding(x)
        out: Tensor = self.head(h + self.attention(h, h, h)[0])
        return out


def report_of(names: Any) -> Report:
    x = torch.randint(5, (24, 6), generator=torch.Generator().manual_seed(1))
    options = reportgen.Options(trial_budget=0, tokens=names)
    return reportgen.examine(Model(), DataLoader(TensorDataset(x, x.roll(-1, 1)), 8), options=options)


def test_a_report_names_the_tokens_that_it_shows() -> None:
    report = report_of(WORDS)
    assert report.tokens == {str(i): word for i, word in enumerate(WORDS)}
    assert decode(encode(report)).tokens == report.tokens
    text = to_html(build(report)).decode()
    assert tokens.line([0, 1], report.tokens) == "the cat"
    assert tokens.renamed("0 1 …", report.tokens) == "the cat …"
    assert tokens.called(3, report.tokens) == "␣on"
    assert report.attention is not None
    assert f"1: {tokens.called(report.attention.tokens[1], report.tokens)}</text>" in text  # a bar of the rollout
    assert report.pictures is not None
    assert report.evaluation is not None
    assert report.evaluation.examples
    seen = [view for view in report.pictures.samples if view.place in {e.index for e in report.evaluation.examples}]
    assert seen
    assert all(tokens.line(view.tokens, report.tokens) in text for view in seen)


def test_a_function_that_does_not_know_a_token_leaves_it_its_number() -> None:
    def known(n: int) -> str:
        return {0: "zero"}[n]

    report = report_of(known)
    assert report.tokens == {"0": "zero"}
    assert tokens.line([0, 4], report.tokens) == "zero 4"
    assert report_of(None).tokens == {}
