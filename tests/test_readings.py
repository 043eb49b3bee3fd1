"""What a loader yields, and what the model's forward asks for, as one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

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
