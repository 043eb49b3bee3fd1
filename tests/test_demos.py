"""The demos are healthy, and broken on purpose they are diagnosed."""

from collections.abc import Callable

import pytest
import torch

import reportgen
from reportgen.document.facts import Severity
from reportgen.errors import TargetError
from reportgen.render.write import render
from reportgen.subject.demos import DEMOS, Demo, build

from .sick import BREAKS, trained

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "bar"), [("digits", 0.97), ("iris", 0.93)])
def test_a_demo_learns_and_raises_no_warning(name: str, bar: float, seed: int) -> None:
    report = trained(build(name, seed))
    assert report.evaluation is not None
    assert report.evaluation.classification is not None
    confusion = report.evaluation.classification.confusion
    assert sum(row[i] for i, row in enumerate(confusion)) / sum(map(sum, confusion)) > bar
    assert [d for d in report.diagnoses if d.severity is not Severity.INFO] == []
    assert {row.status for row in report.coverage} == {"measured"}
    # of which the data take 52 kB, the hills and heat strips of the run 38 kB, the pictures 11 kB
    assert len(render(report, ".html")) <= 235_000
    # some 280 kB, of which 55 are a font of 660 characters
    assert len(render(report, ".html", language="zh")) <= 295_000


@pytest.mark.parametrize("name", DEMOS)
@pytest.mark.parametrize("broken", BREAKS, ids=lambda f: f.__name__)
def test_a_broken_demo_names_its_fault_first(broken: Callable[[Demo], Demo], name: str) -> None:
    rule, cause = BREAKS[broken]
    report = trained(broken(build(name)))
    assert rule in {f.rule for f in report.findings if f.severity is not Severity.INFO}
    serious = [d for d in report.diagnoses if d.severity is not Severity.INFO]
    assert [d.cause for d in serious] == [cause]  # one root, its consequences folded beneath
    assert len(render(report, ".html")) <= 305_000  # 300, with every part that a report has, and its data


def test_a_fresh_resnet_raises_nothing() -> None:
    from reportgen.subject.model import load_model

    torch.manual_seed(0)
    report = reportgen.examine(
        load_model("torchvision:resnet18"), options=reportgen.Options(input_size=[3, 224, 224], batch_size=2)
    )
    assert report.diagnoses == []
    assert report.architecture is not None
    assert report.architecture.parameters == 11_689_512
    assert len(report.weights.rows) == 62  # type: ignore[union-attr]
    assert report.subject.state == "untrained"
    assert len(render(report, ".html")) <= 200_000


def test_an_unknown_demo_lists_the_known_ones() -> None:
    with pytest.raises(TargetError, match="digits, iris"):
        build("nothing")
