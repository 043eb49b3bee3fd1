"""The glossary lists the words that a page uses, each once, and headings lead to them."""

from __future__ import annotations

import re

import pytest

from reportgen.look import Look
from reportgen.page.blocks import Terms
from reportgen.page.build import build
from reportgen.page.glossary import WORDS
from reportgen.render.assets import sheet
from reportgen.render.html import to_html

from . import builders


def terms(name: str) -> list[str]:
    section = builders.page(name).section("glossary")
    return [t.id for b in section.blocks if isinstance(b, Terms) for t in b.terms] if section is not None else []


def test_only_words_that_the_page_uses_are_listed() -> None:
    text = to_html(builders.page("classifier")).decode()
    listed = set(terms("classifier"))
    assert {"term-rms", "term-std", "term-gradient-rms", "term-recall", "term-flops"} <= listed
    assert "term-r2" not in listed
    assert "term-r2" in terms("regressor")
    assert set(re.findall(r"href=#(term-[\w-]+)", text)) == listed


def test_no_browser_tears_a_word_from_what_it_means() -> None:
    """In two columns a word and its meaning are one box: not every browser keeps a title with what follows it."""
    text = to_html(builders.page("classifier")).decode()
    inside = text.split("<dl class=terms>")[1].split("</dl>")[0]
    boxes = re.findall(r"<div><dt id=(term-[\w-]+)>[^<]+<dd>.*?</div>", inside, re.S)
    assert boxes == terms("classifier")
    assert ".terms div{break-inside:avoid" in sheet("report.css")


def test_a_page_without_such_words_has_no_glossary() -> None:
    assert terms("smallest") == []


def test_a_hidden_glossary_leaves_no_links_behind() -> None:
    text = to_html(build(builders.classifier(), look=Look(hide=["glossary"]))).decode()
    assert "term-" not in text


@pytest.mark.parametrize("id", WORDS)
def test_every_word_is_explained_in_a_sentence(id: str) -> None:
    word = WORDS[id]
    assert word.text.endswith(".")
    assert word.labels


def test_no_label_stands_for_two_words() -> None:
    labels = [label for word in WORDS.values() for label in word.labels]
    assert len(labels) == len(set(labels))
