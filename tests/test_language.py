"""The catalogues are whole and fresh, and a Chinese report holds no English sentence."""

import ast
import importlib.machinery
import importlib.util
import re
import string
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest
import torch
from msgspec.structs import replace

import reportgen
from reportgen.document.codec import decode, encode
from reportgen.document.facts import Coverage, Report
from reportgen.health.judge import judge
from reportgen.health.rules import RULES
from reportgen.page.build import build
from reportgen.page.explain import account
from reportgen.page.language import speaking
from reportgen.page.reasons import TEMPLATES, told
from reportgen.page.wording import describe
from reportgen.probe import kinds
from reportgen.render.write import render

from . import builders

ROOT = Path(__file__).parents[1]
PO = ROOT / "reportgen" / "locales" / "zh" / "LC_MESSAGES" / "reportgen.po"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """The program that keeps the catalogues."""
    loader = importlib.machinery.SourceFileLoader("catalogue", str(ROOT / ".ci" / "catalogue"))
    spec = importlib.util.spec_from_loader("catalogue", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.slow
def test_extracting_again_finds_no_text_that_the_catalogue_lacks(tool: ModuleType) -> None:
    fresh = tool.updated(tool.held(PO))
    assert tool.lacking(fresh) == [], "translate these in the .po, then run .ci/catalogue"
    assert PO.read_bytes() == tool.text_of(fresh), "run .ci/catalogue"
    assert PO.with_suffix(".mo").read_bytes() == tool.compiled(PO.read_bytes(), "zh"), "run .ci/catalogue"


def test_a_new_text_is_found_and_has_no_translation(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = tool.wanted()
    monkeypatch.setattr(tool, "wanted", lambda: wanted | {"A text of tomorrow": "A text of tomorrow"})
    assert tool.lacking(tool.updated(tool.held(PO))) == ["A text of tomorrow"]


def places(text: str) -> set[str]:
    return {f"{name}:{spec}" for _, name, spec, _ in string.Formatter().parse(text) if name is not None}


def test_a_translation_has_the_places_of_its_text(tool: ModuleType) -> None:
    for message in tool.held(PO):
        if not message.id:
            continue
        ids = message.id if isinstance(message.id, tuple) else (message.id,)
        if "python-brace-format" not in message.flags:
            continue
        translated = message.string[0] if isinstance(message.string, tuple) else message.string
        assert places(translated) in [places(text) for text in ids], ids[0]


def test_a_translation_is_chinese_unless_it_is_a_name(tool: ModuleType) -> None:
    same = [
        m.id
        for m in tool.held(PO)
        if isinstance(m.id, str) and m.id == m.string and re.search("[a-z]{3} [a-z]{3}", m.id)
    ]
    assert same == []


class Visible(HTMLParser):
    """The text that a reader sees or hears, without code, and without cells that hold names."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("style", "template", "code", "pre")
        self.parts += [v for k, v in attrs if k in ("title", "aria-label", "alt") and v]

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "template", "code", "pre")

    def handle_data(self, data: str) -> None:
        if not self._hidden and data.strip():
            self.parts.append(data.strip())


PAPERS = ("recipe for training",)  # titles stay as they are
_ENGLISH = re.compile(r"(?<![\w.])[A-Za-z][a-z]+(?:,? [a-z]+){2,}")


def english(page: str) -> list[str]:
    """Return the runs of three or more Latin words in what a reader sees."""
    seen = Visible()
    seen.feed(page)
    return [found.group() for part in seen.parts for found in _ENGLISH.finditer(part)]


def test_the_scan_for_english_finds_it() -> None:
    assert english("<p>Nothing was measured here.</p><code>some code of it</code>") == ["Nothing was measured here"]
    assert english(builders.html("classifier").decode())


def told_by_us(report: Report) -> Report:
    """Judge a report, so that every word of advice is ours, and drop the reasons that its builder made up."""
    return judge(replace(report, coverage=[replace(row, reason="") for row in report.coverage]))


REPORTS = {
    "classifier": builders.classifier,
    "regressor": builders.regressor,
    "checkpoint": builders.checkpoint,
    "smallest": builders.smallest,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REPORTS)
def test_a_chinese_report_holds_no_english_sentence(name: str) -> None:
    page = render(told_by_us(REPORTS[name]()), ".html", language="zh").decode()
    assert '<html lang="zh"' in page
    assert english(page) == []


def test_a_chinese_summary_and_junit_hold_no_english_sentence() -> None:
    report = told_by_us(builders.classifier())
    assert english(render(report, ".md", language="zh").decode()) == []
    assert english(render(report, ".xml", language="zh").decode()) == []


def test_advice_of_another_version_is_said_in_the_words_of_this_one() -> None:
    report = told_by_us(builders.classifier())
    assert len({d.cause for d in report.diagnoses if d.advice}) > 1
    older = [replace(d, advice=f"What an older version said of {d.cause} so long ago.") for d in report.diagnoses]
    for suffix in (".html", ".md", ".xml"):
        assert english(render(replace(report, diagnoses=older), suffix, language="zh").decode()) == []
    assert "older version" in render(replace(report, diagnoses=older), ".html").decode()
    unknown = [replace(report.diagnoses[0], cause="of-tomorrow", findings=[])]
    kept = [replace(d, advice="Said tomorrow of a cause that is not known here.") for d in unknown]
    assert "Said tomorrow" in render(replace(report, diagnoses=kept), ".html", language="zh").decode()


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_gives_account_of_itself_in_chinese(rule: str) -> None:
    with speaking("zh"):
        said = account(rule)
    assert re.search("[\u4e00-\u9fff]{6}", said)
    assert [text for text in _ENGLISH.findall(said) if not text.startswith(PAPERS)] == []


def test_facts_are_the_same_in_both_languages() -> None:
    report = judge(builders.classifier())
    assert render(report, ".json", language="zh") == render(report, ".json") == encode(report)


@pytest.mark.slow
def test_a_chinese_page_is_the_same_each_time() -> None:
    report = builders.classifier()
    assert render(report, ".html", language="zh") == render(decode(encode(report), "it"), ".html", language="zh")


def test_a_reason_of_the_facts_is_told_in_the_language_of_the_page() -> None:
    with speaking("zh"):
        assert told("no loss was given") == "没有给出损失"
        assert told("7 samples, too few; no loss was given") == "7 个样本，太少；没有给出损失"
        assert told("the loss raised ValueError: size mismatch") == "损失抛出 ValueError: size mismatch"
        assert told("something of another library") == "something of another library"
    assert told("no loss was given") == "no loss was given"


def test_numbers_of_a_rule_unknown_here_and_places_of_a_run_have_names_in_chinese() -> None:
    unknown = builders.diagnoses()[1].findings[0]
    lost = replace(unknown, rule="h-nonfinite", subject="x", evidence={"values": 2.0, "of": 9.0, "first": 1106.0})
    with speaking("zh"):
        assert describe(unknown) == "fc：行和偏离 1 的程度：1.20e\u22127。"
        assert describe(replace(lost, detail={"axis": "step"})) == "x 在 9 次中有 2 次非有限，首次在第 1,106 步。"


def test_every_kind_of_layer_told_by_name_has_a_template() -> None:
    kinds_told = {kind for kind, _pattern in kinds._KNOWN}
    made = {
        kinds.kind_by_name(name, shape, role)
        for name, shape, role in (
            ("rnn.weight_hh_l0", (12, 4), "weight"),
            ("a.weight", (4, 3, 3), "weight"),
            ("a.weight", (4, 1, 3), "weight"),
            ("a.weight", (4, 3), "weight"),
            ("a.weight", (4,), "norm"),
            ("a.weight", (4, 3), "embedding"),
        )
    }
    assert len(made) == 6
    assert kinds_told | made <= set(TEMPLATES)


def test_no_word_for_a_colour_is_wrong_in_the_dark(tool: ModuleType) -> None:
    """There stronger is brighter: what is pale on paper is dark on a dark page."""
    for message in tool.held(PO):
        english_text, chinese = (" ".join([t] if isinstance(t, str) else t) for t in (message.id, message.string))
        assert not re.search(r"\bpale\b|\bdeeper for\b", english_text)
        assert not re.search("颜色越[深浅]|[浅深]色(?!调)|变淡|很[淡深]的行", chinese), chinese


def test_a_reason_that_is_open_keeps_what_stands_in_it() -> None:
    rows = [Coverage(part="evaluation", status="not measured", reason="the model refuses a batch of 3 in eval mode")]
    page = build(replace(builders.smallest(), coverage=rows), "zh")
    coverage = page.section("coverage")
    assert coverage is not None
    assert [cell.text for cell in coverage.blocks[0].rows[0]] == [  # type: ignore[union-attr]
        "评估",
        "未测量",
        "模型在 eval 模式下拒绝大小为 3 的批次",
    ]


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_is_found_again_when_it_is_filled(template: str) -> None:
    filled = string.Formatter().vformat(template, (), dict.fromkeys(re.findall(r"\{(\w+)\}", template), "X1"))
    with speaking("zh"):
        assert re.search("[\u4e00-\u9fff]", told(filled)) or template in ("Adagrad or RMSprop",), filled


def refusals() -> list[str]:
    """What the probes say when they do not measure, with X1 for what they fill in."""
    found = []
    for path in sorted((ROOT / "reportgen" / "probe").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)):
                continue
            if ast.unparse(node.exc.func) not in ("NotMeasuredError", "NotApplicableError"):
                continue
            for text in node.exc.args:
                if isinstance(text, ast.Constant):
                    found.append(str(text.value))
                elif isinstance(text, ast.JoinedStr):
                    found.append("".join(str(p.value) if isinstance(p, ast.Constant) else "X1" for p in text.values))
    return found


def test_every_refusal_of_a_probe_has_a_template() -> None:
    made_of_parts = {"X1: X1", "the output holds no X1floating-point tensor"}
    said = set(refusals()) - made_of_parts
    assert len(said) > 60
    with speaking("zh"):
        assert [text for text in sorted(said) if told(text) == text] == [], "add them to page/reasons.py"


@pytest.mark.slow
@pytest.mark.usefixtures("without_learning")
def test_the_options_a_report_was_made_with_say_in_which_language_it_is_shown() -> None:
    model = torch.nn.Linear(3, 2)
    told = reportgen.examine(model, options=reportgen.Options(language="zh"))
    assert decode(encode(told), "it").meta.language == "zh"
    for shown in (render(told, ".html").decode(), told._repr_html_()):
        assert "诊断" in shown
    assert "诊断" not in render(told, ".html", language="en").decode()
    usual = reportgen.examine(model)
    assert "诊断" not in render(usual, ".html").decode()
    unknown = replace(usual, meta=replace(usual.meta, language="tlh"))
    assert "Diagnoses" in render(unknown, ".html").decode()
