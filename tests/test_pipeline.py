"""examine(): what is measured with what is at hand, and what is said where something is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import reportgen
from reportgen.document.codec import encode
from reportgen.document.facts import Report
from reportgen.errors import CheckpointError, DataError, ForwardError, HistoryError, OptionError

pytestmark = pytest.mark.usefixtures("without_learning")


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def loader(n: int = 6) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(10, 4, generator=generator), torch.randint(3, (10,), generator=generator)) for _ in range(n)]


def status(report: Report) -> dict[str, str]:
    return {row.part: row.status for row in report.coverage}


def test_each_thing_given_unlocks_its_parts() -> None:
    nothing = reportgen.examine(net())
    assert status(nothing)["weights"] == "measured"
    assert status(nothing)["architecture"] == "partial"
    assert {status(nothing)[part] for part in ("activations", "gradients", "dataset", "evaluation", "training")} == {
        "not measured"
    }
    assert all(row.reason for row in nothing.coverage if row.status != "measured")
    assert not any(row.failed for row in nothing.coverage)

    size = reportgen.examine(net(), options=reportgen.Options(input_size=[4]))
    assert status(size)["activations"] == status(size)["architecture"] == "measured"
    assert size.subject.inputs == "synthetic"
    assert size.evaluation is None

    data = reportgen.examine(net(), loader())
    assert data.evaluation is not None
    assert data.evaluation.loss is None
    assert data.gradients is None

    loss = reportgen.examine(net(), loader(), loss=nn.CrossEntropyLoss())
    assert loss.gradients is not None
    assert loss.gradients.n_batches == 4
    assert loss.subject.n_samples == 60

    both = reportgen.examine(net(), loader(), train_data=loader(3))
    assert both.train_evaluation is not None
    assert both.train_evaluation.n_samples == 30


def test_the_same_model_and_data_give_the_same_facts() -> None:
    def facts() -> bytes:
        report = reportgen.examine(net(), loader(), loss=nn.CrossEntropyLoss())
        return encode(report).replace(encode(report)[: encode(report).index(b'"subject"')], b"")

    assert facts() == facts()


def test_batches_of_every_shape_are_understood() -> None:
    class Keywords(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, *, ids: Tensor, scale: Tensor) -> dict[str, Tensor]:
            return {"logits": self.fc(ids) * scale}

    x, y = loader(1)[0]
    report = reportgen.examine(Keywords(), [{"ids": x, "scale": torch.ones(10, 1), "labels": y}])
    assert report.evaluation is not None

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.fc(a + b)

    assert reportgen.examine(Two(), [(x, x, y)]).evaluation is not None

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 3)

        def forward(self, batch: dict[str, Tensor]) -> Tensor:
            return self.fc(batch["x"])

    assert reportgen.examine(Whole(), [{"x": x, "y": y}]).evaluation is not None
    assert reportgen.examine(net(), (x, y)).subject.n_samples == 10  # one pair is one batch
    assert reportgen.examine(net(), x).subject.n_samples == 10
    assert reportgen.examine(net(), [[x]]).subject.n_samples == 10
    assert reportgen.examine(net(), iter(loader(2))).subject.n_batches == 2  # read once


def test_the_input_size_may_hold_the_batch() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
    for size in ([3, 8, 8], [5, 3, 8, 8]):
        report = reportgen.examine(model, options=reportgen.Options(input_size=size))
        assert report.subject.input_shapes == (["8 × 3 × 8 × 8"] if len(size) == 3 else ["5 × 3 × 8 × 8"])


def test_token_models_get_tokens() -> None:
    model = nn.Sequential(nn.Embedding(11, 4), nn.Linear(4, 2))
    report = reportgen.examine(model, options=reportgen.Options(input_size=[7]))
    assert report.subject.n_samples == 16


def test_a_regressor_has_its_figures() -> None:
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    report = reportgen.examine(nn.Linear(4, 1), [(x, x.sum(1, keepdim=True))], loss=nn.MSELoss())
    assert report.evaluation is not None
    assert report.evaluation.regression is not None


def raising() -> Any:
    yield loader(1)[0]
    raise OSError("disk on fire")


def raising_at_once() -> Any:
    raise OSError("disk on fire")
    yield


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: reportgen.examine(net(), []), DataError, "no batch"),
        (lambda: reportgen.examine(net(), 7), DataError, "cannot be iterated"),
        (lambda: reportgen.examine(net(), ["text"]), DataError, "no batch"),
        (lambda: reportgen.examine(net(), raising_at_once()), DataError, "disk on fire"),
        (lambda: reportgen.examine(net(), [torch.randn(2, 9)]), ForwardError, r"layer '0' \(Linear\)"),
        (lambda: reportgen.examine(net(), options=reportgen.Options(input_size=[9])), ForwardError, "shape"),
        (lambda: reportgen.examine(net(), options=reportgen.Options(input_size=[0])), DataError, "positive"),
        (lambda: reportgen.examine(net(), options=reportgen.Options(device="nonsense")), OptionError, "device"),
        (lambda: reportgen.examine(net(), options=reportgen.Options(thresholds={"x": 1.0})), OptionError, "threshold"),
        (lambda: reportgen.examine(net(), history=7), HistoryError, "reportgen.fit"),
        (lambda: reportgen.examine(net(), history={"loss": []}), HistoryError, "no list of numbers"),
        (lambda: reportgen.examine(net(), history="absent.jsonl"), HistoryError, "absent.jsonl"),
        (lambda: reportgen.examine(None), OptionError, "neither a model nor a history"),
        (lambda: reportgen.examine({"w": torch.ones(2)}), OptionError, "nn.Module"),
        (lambda: reportgen.examine("nothing.safetensors"), CheckpointError, "nothing.safetensors"),
    ],
)
def test_unusable_input_is_one_clear_line(call: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_a_loader_that_fails_later_leaves_a_report() -> None:
    report = reportgen.examine(net(), raising())
    row = next(row for row in report.coverage if row.part == "activations")
    assert (row.status, row.failed) == ("partial", True)
    assert "disk on fire" in row.reason
    assert report.evaluation is not None
    assert status(report)["evaluation"] == status(report)["dataset"] == "partial"
    trained = reportgen.examine(net(), loader(), train_data=raising())
    assert status(trained)["training evaluation"] == "partial"
    assert status(trained)["evaluation"] == "measured"


def test_a_loss_that_fails_costs_only_what_needs_it() -> None:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        raise ValueError("wrong loss")

    report = reportgen.examine(net(), loader(), loss=loss)
    rows = {row.part: row for row in report.coverage}
    assert rows["gradients"].failed
    assert "wrong loss" in rows["gradients"].reason
    assert rows["evaluation"].failed
    assert rows["activations"].status == "measured"


def test_hostile_names_pass_through_as_text() -> None:
    hostile = "</script><img src=x onerror=alert(1)>"
    model = nn.Sequential()
    model.add_module(hostile, nn.Linear(4, 3))
    report = reportgen.examine(model, loader(), loss=nn.CrossEntropyLoss())
    assert report.activations is not None
    assert report.activations.rows[0].name == hostile


@pytest.mark.parametrize("model", [nn.Sequential(), nn.Identity(), nn.ReLU()])
def test_models_without_parameters_are_reported(model: nn.Module) -> None:
    report = reportgen.examine(model, [torch.randn(3, 4)])
    assert report.architecture is not None
    assert report.architecture.parameters == 0


def test_nan_in_the_data_is_the_root() -> None:
    batches = loader()
    batches[2][0][3, 1] = float("nan")
    report = reportgen.examine(net(), batches, loss=nn.CrossEntropyLoss())
    assert [d.cause for d in report.diagnoses if d.severity == "error"] == ["nan-in-data"]
    encode(report)


@pytest.mark.slow
def test_two_runs_of_a_model_with_dropout_measure_the_same() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    first = reportgen.examine(model, loader(), loss=nn.CrossEntropyLoss())
    torch.manual_seed(99)
    second = reportgen.examine(model, loader(), loss=nn.CrossEntropyLoss())
    assert first.gradients == second.gradients


def test_a_history_is_read_from_where_it_is_and_needs_no_model(tmp_path: Path) -> None:
    lists = {"loss": [1.0, 0.5, 0.25], "val_loss": [1.1, 0.6, 0.3]}
    path = tmp_path / "run.json"
    path.write_text(json.dumps(lists))
    torch.save(net().state_dict(), tmp_path / "last.pt")
    given: list[tuple[Any, Any]] = [(None, path), (None, lists), (net(), str(path)), (tmp_path / "last.pt", lists)]
    for model, history in given:
        report = reportgen.examine(model, history=history)
        assert report.training is not None
        series = report.training.get("val_loss")
        assert series is not None
        assert series.y == [1.1, 0.6, 0.3]
        assert [row.status for row in report.coverage if row.part == "training"] == ["measured"]
        assert report.meta.sources.get("history") == (None if history is lists else "…/run.json")
        reportgen.write(report, tmp_path / "report.html")
    alone = reportgen.examine(None, history=path)
    assert (alone.subject.kind, alone.subject.name, alone.title) == ("run", "run.json", "run.json")
    assert [row.part for row in alone.coverage if row.status == "measured"] == ["training"]
    assert len(alone.coverage) == 8
