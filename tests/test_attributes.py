"""What models keep beside parameters and buffers comes back, or is named where it cannot."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import reportgen
from reportgen.probe import attributes
from reportgen.probe.guard import untouched

from .zoo.state import HiddenLayers, Keeps


def data() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(6, 4, generator=generator), torch.arange(6) % 3) for _ in range(2)]


def kept(model: Keeps) -> dict[str, Any]:
    """Everything that its forward pass changes, as values."""
    return {
        "list": repr(model.list),
        "table": repr(model.table),
        "last": list(model.last),
        "queue": set(model.queue),
        "array": model.array.tolist(),
        "total": model.total.tolist(),
        "memory": repr(model.memory),
        "space": repr(model.space),
        "dice": model.dice.getstate(),
        "noise": model.noise.get_state().tolist(),
        "made up": hasattr(model, "made_up"),
    }


def test_every_kind_of_attribute_comes_back_with_its_contents_in_place() -> None:
    model = Keeps()
    before = kept(model)
    held = [model.list, model.list[0], model.table, model.total, model.array]
    with torch.no_grad():
        Keeps.forward(copy := Keeps(), data()[0][0])
    assert {k for k, v in kept(copy).items() if v != before[k]} == set(before)  # the test sees each of them change
    report = reportgen.examine(model, data(), loss=nn.functional.cross_entropy)
    assert kept(model) == before
    assert all(
        a is b for a, b in zip(held, (model.list, model.list[0], model.table, model.total, model.array), strict=True)
    )
    assert "restoration" not in {row.part for row in report.coverage}


def test_layers_in_a_plain_list_keep_their_gradients_and_statistics() -> None:
    model = HiddenLayers()
    first, norm, last = model.layers
    last.weight.grad = torch.full((3, 4), 7.0)
    reportgen.examine(model, data(), loss=nn.functional.cross_entropy)
    assert first.weight.grad is None
    assert model.scale.grad is None
    assert last.weight.grad is not None
    assert bool((last.weight.grad == 7).all())
    assert int(norm.num_batches_tracked) == 0
    assert bool((norm.running_mean == 0).all())
    assert all(layer.training for layer in model.layers)


class Large(nn.Module):
    """Writes into a tensor that is too large to be copied, and reads one that is."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.written, self.read = nn.Linear(4, 3), torch.zeros(64), torch.zeros(64)

    def forward(self, x: Tensor) -> Tensor:
        self.written += self.read + 1
        return self.fc(x)


def test_what_is_too_large_to_be_put_back_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes, "BYTES", 128)
    report = reportgen.examine(Large(), data())
    row = next(row for row in report.coverage if row.part == "restoration")
    assert (row.status, row.failed) == ("not measured", True)
    assert "Large.written" in row.reason
    assert "Large.read" not in row.reason


def test_a_long_list_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attributes, "ITEMS", 10)
    model = nn.Linear(4, 3)
    model.words = list(range(100))  # type: ignore[assignment]
    with untouched(model) as left:
        model.words.append(1)
    assert left == []
    assert len(model.words) == 101


def test_nothing_is_written_that_did_not_change() -> None:
    model = Keeps()
    version = model.total._version
    locked = np.zeros(3)
    locked.flags.writeable = False
    model.locked = locked
    with untouched(model):
        pass
    assert model.total._version == version
    assert model.locked is locked
