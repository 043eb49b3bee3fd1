"""Layer outputs over all batches, against a direct computation on the concatenated outputs."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from reportgen.document.facts import ActivationFacts
from reportgen.probe import stream
from reportgen.probe.activations import ActivationProbe
from reportgen.subject.data import Batch


def probe(model: nn.Module, inputs: list[Tensor]) -> ActivationFacts:
    watcher = ActivationProbe(model)
    with watcher.attached():
        passage = stream.run(model, [Batch((x,)) for x in inputs], watcher.next_batch, {}, 0)
    assert not passage.trouble
    return watcher.facts()


def cnn() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, 8, 3),
            norm=nn.BatchNorm2d(8),
            relu=nn.ReLU(inplace=True),
            flat=nn.Flatten(),
            head=nn.Linear(8 * 4 * 4, 5),
        )
    )
    with torch.no_grad():
        model.norm.bias[2] = -50.0  # channel 2 never fires
        model.norm.weight[5] = 0.0  # channel 5 is a constant above zero
        model.norm.bias[5] = 0.7
    return model


def test_statistics_are_those_of_all_batches_together() -> None:
    model = cnn().eval()
    inputs = [torch.randn(n, 3, 6, 6, generator=torch.Generator().manual_seed(n)) for n in (4, 4, 3)]
    facts = probe(model, inputs)
    for row in facts.rows:
        index = list(dict(model.named_children())).index(row.name)
        until = nn.Sequential(*list(model.children())[: index + 1])
        with torch.no_grad():
            full = torch.cat([until(x) for x in inputs]).double().numpy()
        assert row.stats.count == full.size
        assert row.stats.mean == pytest.approx(full.mean(), rel=1e-6, abs=1e-7)
        assert row.stats.std == pytest.approx(full.std(), rel=1e-6)
        assert (row.stats.min, row.stats.max) == (full.min(), full.max())
        assert row.stats.zeros == (full == 0).sum()
    assert [row.name for row in facts.rows] == ["conv", "norm", "relu", "head"]  # Flatten hands its input on
    assert (facts.n_batches, facts.n_samples) == (3, 11)


def test_silent_and_constant_channels_are_counted_by_channel() -> None:
    facts = probe(cnn(), [torch.randn(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))])
    relu = next(row for row in facts.rows if row.name == "relu")
    assert relu.rectifier
    (channels,) = relu.channels
    assert (channels.n_channels, channels.n_samples) == (8, 8)
    assert (channels.silent, channels.silent_examples) == (1, [2])
    assert (channels.constant, channels.constant_examples) == (1, [5])


def test_batch_norm_gaps_are_those_of_its_input() -> None:
    model = nn.Sequential(nn.Conv1d(2, 4, 1), nn.BatchNorm1d(4)).eval()
    norm = model[1]
    norm.running_mean.fill_(0.5)
    norm.running_var.fill_(4.0)
    inputs = [torch.randn(6, 2, 9, generator=torch.Generator().manual_seed(n)) for n in range(3)]
    (row,) = probe(model, inputs).norms
    with torch.no_grad():
        z = model[0](torch.cat(inputs)).double().transpose(0, 1).flatten(1).numpy()
    gap = np.abs(z.mean(1) - 0.5) / np.sqrt(4 + norm.eps)
    log_gap = np.abs(np.log((z.var(1) + norm.eps) / (4 + norm.eps)))
    assert row.mean_gap == pytest.approx(np.sort(gap)[1], rel=1e-5)  # torch's median is the lower one
    assert row.log_var_gap == pytest.approx(np.sort(log_gap)[1], rel=1e-5)
    assert (row.n_samples, row.batches_tracked) == (18, 0)


class Shared(nn.Module):
    """One ReLU for two widths, a layer that is never run, an LSTM with time first, tokens with features last."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.relu = nn.Linear(4, 6), nn.Linear(6, 3), nn.ReLU()
        self.never = nn.Linear(4, 4)
        self.lstm = nn.LSTM(3, 5)

    def forward(self, x: Tensor) -> Tensor:  # (B, T, 4)
        hidden = self.relu(self.b(self.relu(self.a(x))))
        out, _ = self.lstm(hidden.transpose(0, 1))
        return out[-1]


def test_a_shared_module_is_one_row_with_channels_by_call() -> None:
    facts = probe(Shared(), [torch.randn(7, 2, 4), torch.randn(5, 2, 4)])
    rows = {row.name: row for row in facts.rows}
    assert rows["relu"].calls == 4
    assert [c.n_channels for c in rows["relu"].channels] == [6, 3]
    assert rows["relu"].stats.count == 12 * 2 * (6 + 3)
    assert rows["lstm"].channels[0].n_samples == 12  # not the two time steps
    assert facts.not_executed == ["never"]


def test_trouble_in_one_layer_is_told_and_costs_only_that_layer() -> None:
    class Changing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, : len(x)]

    model = nn.Sequential(nn.Linear(9, 9), Changing())
    facts = probe(model, [torch.randn(4, 9), torch.randn(5, 9)])
    assert "changed from 4 to 5" in facts.reasons[0]
    assert facts.rows[0].stats.count == 81


@pytest.mark.parametrize(
    ("model", "x"),
    [
        (nn.Sequential(nn.Identity()), torch.randn(2, 3)),
        (nn.Sequential(nn.Embedding(4, 3), nn.LayerNorm(3)), torch.tensor([[1, 2], [3, 0]])),
        (nn.Sequential(nn.Linear(3, 3).bfloat16()), torch.randn(2, 3).bfloat16()),
        (nn.Conv2d(1, 2, 3), torch.randn(1, 5, 5)),
        (nn.Linear(3, 3), torch.randn(0, 3)),
        (nn.MultiheadAttention(4, 2, batch_first=True), None),
    ],
)
def test_odd_models_do_not_stop_the_pass(model: nn.Module, x: Tensor | None) -> None:
    if x is None:
        x = torch.randn(2, 3, 4)
        watcher = ActivationProbe(model)
        with watcher.attached():
            passage = stream.run(model, [Batch((x, x, x))], watcher.next_batch, {}, 0)
        assert not passage.trouble
        assert watcher.facts().rows
    else:
        facts = probe(model, [x])
        assert not facts.reasons
