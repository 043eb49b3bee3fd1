"""Evaluation in a stream, against scikit-learn and numpy on the whole."""

from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from torch import Tensor, nn

from reportgen.probe.evaluation import EvaluationProbe, infer_task
from reportgen.probe.tasks import heads_of, prepared
from reportgen.subject.data import Batch


def stream(outputs: Tensor, targets: Tensor, loss: nn.Module | None = None, size: int = 7) -> EvaluationProbe:
    probe = EvaluationProbe(loss, None, None)
    for out, target in zip(outputs.split(size), targets.split(size), strict=True):
        probe.update(out, Batch((out,), {}, target))
    return probe


def test_a_classifier() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs, targets = torch.randn(50, 4, generator=generator), torch.randint(4, (50,), generator=generator)
    facts = stream(outputs, targets, nn.CrossEntropyLoss()).facts()
    assert facts is not None
    assert facts.task == "multiclass"
    assert facts.classification is not None
    wanted = metrics.confusion_matrix(targets, outputs.argmax(1), labels=range(4))
    assert facts.classification.confusion == wanted.tolist()
    assert facts.loss == pytest.approx(metrics.log_loss(targets, outputs.double().softmax(1)), rel=1e-5)
    assert facts.outputs is not None
    assert facts.outputs.cross_entropy == pytest.approx(facts.loss, rel=1e-6)


def test_a_regressor() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(3, 2, (60, 1))
    predicted = y + rng.normal(0.5, 0.3, (60, 1))
    facts = stream(torch.tensor(predicted), torch.tensor(y), nn.MSELoss()).facts()
    assert facts is not None
    assert facts.regression is not None
    assert facts.regression.r2 == pytest.approx(metrics.r2_score(y, predicted), rel=1e-9)
    assert facts.regression.mae == pytest.approx(metrics.mean_absolute_error(y, predicted), rel=1e-9)
    assert facts.regression.mse == pytest.approx(metrics.mean_squared_error(y, predicted), rel=1e-9)
    assert facts.regression.residual.mean == pytest.approx((predicted - y).mean(), rel=1e-9)
    assert len(facts.regression.sample) == 60


def test_a_binary_classifier_by_logits_and_by_probabilities() -> None:
    generator = torch.Generator().manual_seed(1)
    logits, targets = (
        torch.randn(40, 1, generator=generator) * 3,
        torch.randint(2, (40, 1), generator=generator).float(),
    )
    wanted = metrics.confusion_matrix(targets, logits > 0).tolist()
    for outputs in (logits, logits.sigmoid()):
        facts = stream(outputs, targets).facts()
        assert facts is not None
        assert facts.task == "binary"
        assert facts.classification is not None
        assert facts.classification.confusion == wanted


def test_the_pairs_shown_are_the_same_whatever_the_batches() -> None:
    y = torch.arange(5000.0)
    drawn = []
    for size in (100, 250):
        facts = stream(y.unsqueeze(1), y.unsqueeze(1), size=size).facts()
        assert facts is not None
        assert facts.regression is not None
        drawn.append(facts.regression.sample)
    kept = [t for t, _ in drawn[0]]
    assert drawn[0] == drawn[1]
    assert len(kept) == 400
    assert kept == sorted(kept)
    # a uniform sample: mean within four standard errors, and every tenth of the data is there
    assert abs(np.mean(kept) - 2500) < 4 * 5000 / np.sqrt(12 * 400)
    assert {int(t // 500) for t in kept} == set(range(10))


def test_thresholds_of_grades_are_no_class_scores() -> None:
    """Four columns tell five grades apart; their largest column is no answer."""

    def steps(output: torch.Tensor, grade: torch.Tensor) -> torch.Tensor:
        return nn.functional.binary_cross_entropy_with_logits(output, (grade[:, None] > torch.arange(4)).float())

    outputs, grades = torch.randn(40, 4), torch.arange(40) % 5
    probe = stream(outputs, grades, steps)
    assert probe.facts() is None
    assert "thresholds" in probe.trouble
    facts = stream(outputs, grades % 4, steps).facts()
    assert facts is not None
    assert facts.task == "multiclass"


def test_ignored_labels_and_nan_rows_are_left_out() -> None:
    outputs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [float("nan"), 0.0], [1.0, 0.0]])
    facts = stream(outputs, torch.tensor([0, -100, 0, 1])).facts()
    assert facts is not None
    assert facts.classification is not None
    assert facts.classification.confusion == [[1, 0], [1, 0]]


@pytest.mark.parametrize(
    ("output", "target", "task"),
    [
        (torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1]), "multiclass"),
        (torch.randn(5, 2), torch.randn(5, 2), "regression"),
        (torch.randn(5), torch.tensor([0.0, 1, 1, 0, 1]), "binary"),
        (torch.randn(5, 1), torch.tensor([0, 1, 1, 0, 1]), "binary"),
        (torch.randn(5, 1), torch.randn(5), "regression"),
        (torch.randn(3, 3), torch.tensor([[0.0, 1, 1], [1, 0, 0], [0, 0, 0]]), "multilabel"),
        (torch.randn(3, 3), torch.eye(3), "multiclass"),
        (torch.randn(5, 3), torch.zeros(5, 1, dtype=torch.long), "multiclass"),
        (torch.randn(5, 7, 3), torch.randint(3, (5, 7)), "tokens"),
        (torch.randn(5, 3, 7), torch.randint(3, (5, 7)), "tokens"),
        (torch.randn(2, 3, 4, 5), torch.randint(3, (2, 4, 5)), "segmentation"),
        (torch.randn(2, 1, 4, 5), torch.randint(2, (2, 1, 4, 5)).float(), "segmentation"),
        (torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5), "regression"),
        (torch.randn(2, 3, 4, 5), torch.ones(2, 3, 4, 5), "several yes-or-no"),
        (torch.randn(2, 8, 9), torch.randint(2, (2, 8, 9)).float(), "segmentation"),
        (torch.randn(2, 30, 4), torch.randint(2, (2, 30, 4)).float(), "several yes-or-no"),  # labels of a position
        (torch.randn(2, 8, 9), torch.rand(2, 8, 9), "regression"),
        (torch.randn(5, 7, 3), torch.randint(3, (5, 6)), "no task known"),
    ],
)
def test_the_task_is_found_out_or_said_to_be_unknown(output: Tensor, target: Tensor, task: str) -> None:
    assert task in infer_task(output, target)


def test_pictures_of_black_and_white_given_back_by_a_squared_error_are_numbers() -> None:
    output, target = torch.randn(5, 64), (torch.rand(5, 64) > 0.5).float()
    assert infer_task(output, target, "MSELoss") == "regression"
    assert infer_task(output, target, "BCEWithLogitsLoss") == "multilabel"
    assert infer_task(output.sigmoid(), target, "MSELoss") == "multilabel"
    assert infer_task(torch.randn(3, 3), torch.eye(3), "MSELoss") == "multiclass"


def test_one_hot_targets_of_a_loss_of_labels_are_labels() -> None:
    assert infer_task(torch.randn(3, 3), torch.eye(3), "BCEWithLogitsLoss") == "multilabel"


def test_a_task_stated_goes_before_one_inferred() -> None:
    outputs, targets = torch.randn(6, 1), torch.tensor([0.0, 1, 1, 0, 1, 0]).unsqueeze(1)
    probe = EvaluationProbe(None, "regression", None)
    probe.update(outputs, Batch((outputs,), {}, targets))
    facts = probe.facts()
    assert facts is not None
    assert facts.task == "regression"
    probe = EvaluationProbe(None, "tokens", None)
    probe.update(outputs, Batch((outputs,), {}, targets))
    assert "do not fit the task 'tokens'" in probe.trouble


def test_targets_that_only_began_as_yes_or_no_are_told() -> None:
    probe = EvaluationProbe(None)
    for target in (torch.tensor([0.0, 1, 1]), torch.tensor([0.0, 3, 1])):
        probe.update(torch.randn(3), Batch((torch.randn(3),), {}, target))
    assert probe.facts() is None
    assert "and then 3: state the task" in probe.trouble


def heads(n: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(3)
    outputs = {"kind": torch.randn(n, 4, generator=generator), "size": torch.randn(n, 1, generator=generator)}
    targets = {"kind": torch.randint(4, (n,), generator=generator), "size": torch.randn(n, 1, generator=generator)}
    return outputs, targets


@pytest.mark.parametrize("form", ["dict", "tuple", "tuple against dict"])
def test_each_head_has_scores_of_its_own(form: str) -> None:
    outputs, targets = heads(40)
    given = outputs if form == "dict" else tuple(outputs.values())
    wanted = tuple(targets.values()) if form == "tuple" else targets
    probe = EvaluationProbe(None)
    probe.update(given, Batch((torch.randn(40, 2),), {}, wanted))
    facts = probe.facts()
    assert facts is not None
    assert facts.task == "several"
    assert facts.classification is None
    kind, size = facts.heads.values()
    assert kind.task == "multiclass"
    assert size.task == "regression"
    found = kind.score("accuracy")
    assert found is not None
    assert found.value == pytest.approx(metrics.accuracy_score(targets["kind"], outputs["kind"].argmax(1)))
    found = size.score("r2")
    assert found is not None
    assert found.value == pytest.approx(metrics.r2_score(targets["size"], outputs["size"]), abs=1e-6)


def test_tasks_can_be_stated_by_head_and_one_that_fails_leaves_the_other() -> None:
    outputs, targets = heads(40)
    probe = EvaluationProbe(None, {"kind": "tokens"})
    probe.update(outputs, Batch((torch.randn(40, 2),), {}, targets))
    facts = probe.facts()
    assert facts is not None
    assert list(facts.heads) == ["size"]
    assert "kind: outputs of shape (40, 4)" in facts.remarks[0]


def test_outputs_and_targets_that_cannot_be_paired_are_told() -> None:
    probe = EvaluationProbe(None)
    probe.update((torch.randn(4, 2),), Batch((torch.randn(4, 2),), {}, (torch.zeros(4), torch.zeros(4))))
    assert probe.trouble == "1 output tensor and 2 targets cannot be paired"


def test_an_empty_loader_has_no_facts() -> None:
    assert EvaluationProbe(None).facts() is None


FORMS = {
    "multiclass": (lambda g: torch.randn(60, 7, generator=g), lambda g: torch.randint(7, (60,), generator=g)),
    "binary": (lambda g: torch.rand(60, generator=g), lambda g: torch.randint(2, (60,), generator=g)),
    "multilabel": (lambda g: torch.randn(60, 3, generator=g), lambda g: torch.randint(2, (60, 3), generator=g)),
    "regression": (lambda g: torch.randn(60, 2, generator=g), lambda g: torch.randn(60, 2, generator=g) + 9),
    "tokens": (lambda g: torch.randn(60, 5, 6, generator=g), lambda g: torch.randint(6, (60, 5), generator=g)),
    "segmentation": (
        lambda g: torch.randn(60, 3, 4, 4, generator=g),
        lambda g: torch.randint(3, (60, 4, 4), generator=g),
    ),
}


@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(1, 59), min_size=1, max_size=4, unique=True), parts=st.integers(1, 3))
@pytest.mark.parametrize("task", FORMS)
def test_parts_merge_to_the_numbers_of_the_whole(task: str, cuts: list[int], parts: int) -> None:
    generator = torch.Generator().manual_seed(4)
    make_output, make_target = FORMS[task]
    outputs, targets = make_output(generator), make_target(generator)
    whole = EvaluationProbe(None, task)
    whole.update(outputs, Batch((outputs,), {}, targets))
    edges = [0, *sorted(cuts), 60]
    pieces = []
    for low, high in pairwise(edges):
        piece = EvaluationProbe(None, task, start=low)
        for a, b in zip(outputs[low:high].split(parts), targets[low:high].split(parts), strict=True):
            piece.update(a, Batch((a,), {}, b))
        pieces.append(piece)
    first, *rest = pieces
    for piece in rest:
        first.merge(piece)
    assert_alike(msgspec.to_builtins(first.facts()), msgspec.to_builtins(whole.facts()))


def assert_alike(a: object, b: object) -> None:
    """Compare nested facts: counts and texts to the bit, sums of floats to rounding."""
    if isinstance(a, dict) and isinstance(b, dict):
        assert a.keys() == b.keys()
        for key in a:
            if key != "bars":  # of a tensor that was measured whole; they do not merge
                assert_alike(a[key], b[key])
    elif isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_alike(x, y)
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=1e-6, abs=1e-9)
    else:
        assert a == b


def rank(place: int, folder: str) -> None:
    """See every other batch in one of two processes, and gather."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=place, world_size=2)
    generator = torch.Generator().manual_seed(4)
    outputs, targets = FORMS["multiclass"][0](generator), FORMS["multiclass"][1](generator)
    mine = slice(30 * place, 30 * place + 30)
    probe = EvaluationProbe(None, start=30 * place)
    for a, b in zip(outputs[mine].split(8), targets[mine].split(8), strict=True):
        probe.update(a, Batch((a,), {}, b))
    gathered: list[EvaluationProbe | None] = [None, None]
    dist.all_gather_object(gathered, probe)
    dist.destroy_process_group()
    one, other = gathered
    assert one is not None
    assert other is not None
    one.merge(other)
    (Path(folder) / f"{place}.json").write_bytes(msgspec.json.encode(one.facts()))


@pytest.mark.slow
def test_two_processes_gather_to_the_numbers_of_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(rank, (str(tmp_path),), nprocs=2)
    generator = torch.Generator().manual_seed(4)
    outputs, targets = FORMS["multiclass"][0](generator), FORMS["multiclass"][1](generator)
    whole = msgspec.to_builtins(stream(outputs, targets).facts())
    for place in (0, 1):
        assert_alike(msgspec.json.decode((tmp_path / f"{place}.json").read_bytes()), whole)


def test_without_targets_there_is_a_reason_and_no_figures() -> None:
    probe = EvaluationProbe(None, None, None)
    probe.update(torch.randn(3, 2), Batch((torch.randn(3, 2),)))
    assert probe.facts() is None
    assert "no target" in probe.trouble


def test_a_map_without_a_dimension_for_classes_is_given_one() -> None:
    output, target = torch.randn(3, 8, 8), torch.randint(2, (3, 8, 8))
    for shape in ((3, 8, 8), (3, 1, 8, 8)):
        form = prepared("segmentation", output.reshape(shape), target.reshape(shape))
        assert not isinstance(form, str)
        assert torch.equal(form[0], output[:, None])
        assert torch.equal(form[1], target)


def test_what_is_no_target_is_named() -> None:
    assert heads_of(torch.zeros(2, 3), None) == "the data hold no target tensor"
    assert heads_of(torch.zeros(2, 3), "cat") == "the data hold no target tensor: the target is of type str"
