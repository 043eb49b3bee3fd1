"""What a loader yields, and what the model's forward asks for, as one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import reportgen
from reportgen.errors import DataError
from reportgen.subject.data import Reading, batches, unpack
from reportgen.subject.shapes import dense_rows, n_rows, shape_of
from reportgen.subject.signature import OwnLoss, Signature, loss_in, signature_of

X, Y, Z = torch.zeros(6, 4), torch.arange(6), torch.ones(6, 4)


def asks(forward: Callable[..., Any]) -> Signature:
    model = nn.Module()
    model.forward = forward  # type: ignore[method-assign]
    return signature_of(model)


@pytest.mark.parametrize(
    ("forward", "item", "feed", "args", "kwargs"),
    [
        (lambda x: x, (X, Y), "named", 1, set()),
        (lambda x, y: x, (X, Y), "asked", 1, {"y"}),
        (lambda x, y=None: x, (X, Y), "asked", 1, set()),
        (lambda x, y=None: x, (X, Y), "named", 1, {"y"}),
        (lambda x, mask: x, (X, Z), "asked", 2, set()),
        (lambda x, mask: x, (X, Z, Y), "asked", 2, set()),
        (lambda x, labels, mask: x, (X, Y, Z), "asked", 1, {"labels", "mask"}),
        (lambda x, y=None: x, (X, Z, Y), "named", 2, set()),  # its place is taken by an input
        (lambda *parts: parts, (X, Z, Y), "named", 2, set()),
        (lambda y: y, (X, Y), "named", 1, set()),  # the only argument is the input
        (lambda x, labels=None: x, {"x": X, "labels": Y}, "asked", 0, {"x"}),
        (lambda x, labels=None: x, {"x": X, "labels": Y}, "named", 0, {"x", "labels"}),
        (lambda x, labels: x, {"x": X, "labels": Y}, "asked", 0, {"x", "labels"}),
        (lambda x, **more: x, {"x": X, "labels": Y}, "named", 0, {"x"}),
        (lambda batch: batch, {"x": X, "labels": Y}, "asked", 1, set()),
    ],
)
def test_what_a_model_is_called_with(
    forward: Callable[..., Any], item: Any, feed: Any, args: int, kwargs: set[str]
) -> None:
    batch = unpack(item, asks(forward), feed)
    given, named = batch.arguments()
    assert (len(given), set(named)) == (args, kwargs)
    forward(*given, **named)
    target = item["labels"] if isinstance(item, dict) else Y
    told_apart = len(item) != 2 or isinstance(item, dict) or item[1] is Y
    assert (batch.target is target) == told_apart
    assert all(value is not target for value in batch.kwargs.values())  # handed over, but no input


def test_a_dict_that_is_the_only_input_gets_its_target_back_where_it_is_an_entry() -> None:
    batch = unpack({"x": X, "labels": Y}, asks(lambda batch: batch), "entry")
    (given,), named = batch.arguments()
    assert (set(given), named) == ({"x", "labels"}, {})
    assert set(batch.args[0]) == {"x"}


class Output:
    def __init__(self, loss: Any) -> None:
        self.loss = loss


LOSS = torch.tensor(2.0)


@pytest.mark.parametrize(
    "output", [LOSS, (LOSS, X), [LOSS], {"loss": LOSS, "logits": X}, {"loss": LOSS[None]}, Output(LOSS)]
)
def test_a_loss_is_found_in_an_output(output: Any) -> None:
    assert float(OwnLoss()(output, None)) == 2.0


@pytest.mark.parametrize("output", [X, (X, LOSS), (), {"logits": LOSS}, torch.zeros(1), Output(None), None, (Y[0],)])
def test_what_is_no_loss_is_not_taken_for_one(output: Any) -> None:
    assert loss_in(output) is None
    with pytest.raises(TypeError, match="holds no loss of its own"):
        OwnLoss()(output, None)


class Stream(IterableDataset[Any]):
    def __init__(self, *items: Any) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)


def read(data: Any) -> tuple[list[int], list[str]]:
    reading = Reading()
    found = [b.n_samples for b in batches(data, nn.Linear(4, 3), torch.device("cpu"), None, reading)]
    return found, reading.told()


def test_data_sets_are_read_in_batches_and_that_is_told() -> None:
    told = ["the data set yields samples; they were read 32 at a time"]
    assert read(TensorDataset(torch.zeros(70, 4), torch.arange(70))) == ([32, 32, 6], told)
    assert read(Stream(*((torch.zeros(4), i) for i in range(40)))) == ([32, 8], told)
    assert read(Stream((X, Y), (X, Y))) == ([6, 6], [])
    assert read(DataLoader(TensorDataset(X, Y), 4)) == ([4, 2], [])
    assert read({"input": X, "y": Y}) == ([6], [])


def test_a_stream_that_may_be_either_is_refused_in_words() -> None:
    with pytest.raises(DataError, match=r"may yield samples or batches.*DataLoader\(data, batch_size=None\)"):
        read(Stream(X, X))
    with pytest.raises(DataError, match="yielded no batch"):
        read(Stream())


def test_empty_batches_are_left_out_and_counted() -> None:
    assert read([(X[:0], Y[:0]), (X, Y), (X[:0], Y[:0])]) == ([6], ["2 empty batches left out"])
    with pytest.raises(DataError, match="only empty batches"):
        read([(X[:0], Y[:0])])


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensors_have_a_shape_in_words_and_rows(layout: torch.layout) -> None:
    parts = [torch.arange(n * 4.0).reshape(n, 4) for n in (2, 5, 1)]
    nested = torch.nested.nested_tensor(parts, layout=layout)
    assert (n_rows(nested), shape_of(nested)) == (3, "3 × ragged × 4")
    assert torch.equal(dense_rows(nested), torch.cat(parts))


def test_plain_tensors_keep_theirs() -> None:
    assert (n_rows(X), shape_of(X), shape_of(LOSS), n_rows(LOSS)) == (6, "6 × 4", "", 1)
    assert dense_rows(X) is X


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_parts_of_other_widths_are_flat() -> None:
    nested: Tensor = torch.nested.nested_tensor([torch.zeros(2, 3), torch.zeros(2, 5)])
    assert shape_of(nested) == "2 × 2 × ragged"
    assert dense_rows(nested).shape == (16, 1)


def test_words_beside_the_input_describe_the_samples() -> None:
    item = {"image": X, "label": Y, "path": ["a", "b"]}
    batch = unpack(item, asks(lambda image: image))
    assert batch.kwargs == {"image": X}
    assert batch.target is Y
    assert batch.carried == {"path": ["a", "b"]}
    # a model that takes the whole dict gets the whole dict
    batch = unpack(item, asks(lambda batch: batch))
    assert batch.args[0].keys() == {"image", "path"}
    assert not batch.carried


def test_entries_that_forward_has_no_name_for_are_the_targets() -> None:
    mask, kind = torch.zeros(6, 5, dtype=torch.long), torch.arange(6)
    batch = unpack({"image": X, "mask": mask, "kind": kind, "path": ["a", "b"]}, asks(lambda image: image))
    assert (batch.kwargs, batch.target) == ({"image": X}, {"mask": mask, "kind": kind})
    assert batch.carried == {"path": ["a", "b"]}
    alone = unpack({"image": X, "kind": kind}, asks(lambda image, scale=None: image))
    assert (alone.kwargs, alone.target is kind) == ({"image": X}, True)
    # beside one that is a target by its name they are only kept, and what is no row a sample is none
    named = unpack({"image": X, "label": Y, "weight": kind}, asks(lambda image: image))
    assert (named.target is Y, named.carried) == (True, {"weight": kind})
    given = unpack({"image": X, "scale": torch.zeros(7)}, asks(lambda image: image))
    assert (given.args[0].keys(), given.target) == ({"image", "scale"}, None)
    # where forward knows nothing by its name, nothing can be told
    assert unpack({"a": X, "b": kind}, asks(lambda batch: batch)).args[0].keys() == {"a", "b"}


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.label, self.size = nn.Linear(4, 3), nn.Linear(4, 1)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"label": self.label(image), "size": self.size(image)}


@pytest.mark.parametrize("first", ["label", "kind"])
def test_targets_of_several_heads_stand_in_the_batch_itself(first: str) -> None:
    torch.manual_seed(0)
    model, x = Heads(), torch.randn(40, 4)
    y, size = torch.arange(40) % 3, torch.randn(40, 1)
    if first == "kind":  # named by no word for targets: in the order of the outputs
        model.forward = lambda image: {"kind": model.label(image), "size": model.size(image)}  # type: ignore[method-assign]
    data = [{"image": x[i : i + 10], first: y[i : i + 10], "size": size[i : i + 10]} for i in range(0, 40, 10)]
    report = reportgen.examine(model, data, train_data=data, options=reportgen.Options(trial_budget=0))
    for found in (report.evaluation, report.train_evaluation):
        assert found is not None
        assert {name: (head.task, head.n_samples) for name, head in found.heads.items()} == {
            first: ("multiclass", 40),
            "size": ("regression", 40),
        }
    with torch.no_grad():
        right = float((model.label(x).argmax(1) == y).double().mean())
    assert report.evaluation is not None
    score = report.evaluation.heads[first].score("accuracy")
    assert score is not None
    assert score.value == right


def test_the_only_tensor_of_a_dict_needs_no_name_that_the_model_knows() -> None:
    torch.manual_seed(0)
    model, x, y = nn.Sequential(nn.Linear(4, 3)), torch.randn(40, 4), torch.arange(40) % 3
    data = [{"image": x[i : i + 10], "label": y[i : i + 10], "path": ["a", "b"] * 5} for i in range(0, 40, 10)]
    report = reportgen.examine(model, data, options=reportgen.Options(trial_budget=0))
    assert report.evaluation is not None
    with torch.no_grad():
        right = float((model(x).argmax(1) == y).double().mean())
    score = report.evaluation.score("accuracy")
    assert score is not None
    assert score.value == right
    assert {(one.key, one.value) for one in report.evaluation.slices} == {("path", "a"), ("path", "b")}


class Sample(NamedTuple):
    image: Tensor
    label: Tensor
    about: dict[str, Any]


def test_entries_that_are_named_are_kept_beside() -> None:
    site = torch.zeros(2)
    batch = unpack({"x": X, "y": Y, "site": site}, asks(lambda x: x), carried=["site"])
    assert batch.kwargs == {"x": X}
    assert batch.carried == {"site": site}
    aside = {"site": site, "other": 1}
    for item in ((X, Y, aside), [X, Y, aside], Sample(X, Y, aside)):
        batch = unpack(item, asks(lambda x: x), carried=["site"])
        assert batch.args == (X,)
        assert batch.target is Y
        assert batch.carried == {"site": site}
