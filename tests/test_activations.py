"""Layer outputs over all batches, against a direct computation on the concatenated outputs."""

import gc
import math
import weakref
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from reportgen.document.facts import ActivationFacts, ActivationRow, ChannelFacts
from reportgen.probe import stream
from reportgen.probe.activations import ActivationProbe
from reportgen.probe.channels import ChannelAccumulator
from reportgen.probe.outputs import is_rectified
from reportgen.probe.reduce import tensor_stats
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


class Functional(nn.Module):
    """Activations as functions: no hook sees them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.second, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 4, 3), nn.Linear(4 * 16, 5)
        self.smooth = nn.Linear(5, 2)
        with torch.no_grad():
            self.second.bias[1] = -100.0  # never fires

    def forward(self, x: Tensor) -> Tensor:  # (B, 3, 8, 8)
        x = functional.relu(self.second(functional.relu(self.conv(x), inplace=True)))
        return self.smooth(functional.gelu(self.head(x.flatten(1))))


def test_rectifiers_that_are_functions_are_seen_by_what_enters_the_next_layer() -> None:
    model = Functional().eval()
    inputs = [torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(n)) for n in range(2)]
    rows = {row.name: row for row in probe(model, inputs).rows}
    assert [name for name, row in rows.items() if row.functional] == ["second (input)", "head (input)"]
    with torch.no_grad():
        hidden = functional.relu(model.second(functional.relu(model.conv(torch.cat(inputs)))))
    seen = rows["head (input)"]
    (channels,) = seen.channels
    # the flattened map is four channels of sixteen places, not sixty-four units
    assert (channels.n_channels, channels.silent, channels.silent_examples) == (4, 1, [1])
    assert seen.stats.zeros == int((hidden == 0).sum())
    assert channels.fired_share == pytest.approx(float((hidden > 0).flatten(2).any(2).double().mean()))
    assert seen.rectifier
    # GELU goes below zero, and raw input is no activation: neither has a row
    assert "smooth (input)" not in rows
    assert "conv (input)" not in rows


def test_units_of_a_dense_layer_behind_maps_are_no_channels_of_maps() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.wide, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 64), nn.Linear(64, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = functional.adaptive_avg_pool2d(functional.relu(self.conv(x)), 1).flatten(1)
            return self.head(functional.relu(self.wide(x)))

    net = Net()
    with torch.no_grad():
        net.wide.weight.abs_()
        net.wide.bias.fill_(0.1)
        net.wide.bias[::4] = -99.0  # one of every four: as places of eight maps none would be silent
    rows = {row.name: row for row in probe(net, [torch.randn(16, 3, 8, 8), torch.randn(5, 3, 8, 8)]).rows}
    (channels,) = rows["head (input)"].channels
    assert (channels.n_channels, channels.silent) == (64, 16)


class Sequences(nn.Module):
    """A transformer and a recurrent layer, on sequences that begin with samples or with time."""

    def __init__(self, *, batch_first: bool) -> None:
        super().__init__()
        block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=batch_first)
        self.body = nn.TransformerEncoder(block, 2, nn.LayerNorm(8), enable_nested_tensor=False)
        self.rnn = nn.GRU(8, 6, batch_first=batch_first)
        self.batch_first = batch_first

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.rnn(self.body(x if self.batch_first else x.transpose(0, 1)))[0]
        return out


def test_samples_are_samples_where_sequences_begin_with_time() -> None:
    torch.manual_seed(0)
    samples, time = Sequences(batch_first=True), Sequences(batch_first=False)
    time.load_state_dict(samples.state_dict())
    inputs = [torch.randn(n, 9, 8) for n in (16, 16, 5)]
    ours, theirs = probe(samples, inputs).rows, probe(time, inputs).rows
    assert [row.name for row in ours] == [row.name for row in theirs]
    assert any(row.functional for row in ours)
    for one, other in zip(ours, theirs, strict=True):
        assert [c.n_samples for c in other.channels] == [37], other.name
        assert one.channels[0].fired_share == pytest.approx(other.channels[0].fired_share)
        assert (one.spread is None) == (other.spread is None)
        if one.spread is not None and other.spread is not None:
            assert other.spread.participation == pytest.approx(one.spread.participation, rel=1e-3)
            assert other.spread.drift == pytest.approx(one.spread.drift, rel=1e-3)
        if not one.functional:
            assert other.shape == "9 × 16 × " + one.shape.rpartition(" ")[2]


def test_a_layer_before_a_batch_norm_is_worked_back_from_it() -> None:
    torch.manual_seed(2)
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU()).eval()
    with torch.no_grad():
        model[1].weight.uniform_(-2, 2)
        model[1].bias.normal_()
        model[1].running_mean.normal_()
        model[1].running_var.uniform_(0.1, 3)
    inputs = [torch.randn(8, 3, 14, 14, generator=torch.Generator().manual_seed(n)) for n in range(3)]
    conv, norm, relu = probe(model, inputs).rows
    with torch.no_grad():
        full = model[0](torch.cat(inputs)).double()
        after = model(torch.cat(inputs))
    assert conv.derived
    assert not norm.derived
    assert conv.stats.count == full.numel()
    assert (conv.stats.min, conv.stats.max) == (
        pytest.approx(float(full.min()), rel=1e-5),
        pytest.approx(float(full.max()), rel=1e-5),
    )
    assert conv.stats.mean == pytest.approx(float(full.mean()), rel=1e-4, abs=1e-6)
    assert conv.stats.std == pytest.approx(float(full.std()), rel=0.03)
    assert conv.shape == norm.shape
    assert relu.stats.max == float(after.max())


def glanced() -> tuple[ActivationFacts, dict[str, Tensor], nn.Module]:
    """Measure maps of 64 places by 16 channels, of which a norm before an activation is only glanced at."""
    torch.manual_seed(0)
    conv, norm, last = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.Conv2d(16, 8, 1)
    norm.running_mean.normal_()
    norm.weight.data.uniform_(0.5, 2.0)
    model = nn.Sequential(OrderedDict(conv=conv, norm=norm, act=nn.Hardswish(), last=last)).eval()
    x, made = torch.randn(12, 3, 64, 64), {}
    for name, module in model.named_children():
        module.register_forward_hook(lambda m, a, out, name=name: made.__setitem__(name, out))
    probe = ActivationProbe(model)
    with torch.no_grad(), probe.attached():
        for part in x.split(5):
            probe.next_batch(Batch((part,)))
            model(part)
    with torch.no_grad():
        model(x)
    return probe.facts(), made, model


def test_a_norm_before_an_activation_is_known_from_places_and_says_so() -> None:
    facts, made, model = glanced()
    rows = {row.name: row for row in facts.rows}
    assert {name: row.glanced for name, row in rows.items()} == {
        "conv": True,
        "norm": True,
        "act": False,
        "last": False,
    }
    for name in ("conv", "norm"):
        row, real = rows[name], made[name].double()
        assert row.sampled
        assert row.channels == []
        assert row.stats.count == real.numel()
        assert row.stats.mean == pytest.approx(float(real.mean()), abs=0.05 * float(real.std()))
        assert row.stats.std == pytest.approx(float(real.std(unbiased=False)), rel=0.05)
        assert row.stats.min is not None
        assert row.stats.max is not None
        assert float(real.min()) - 1e-4 <= row.stats.min < row.stats.max <= float(real.max()) + 1e-4
    act = made["act"].double()
    assert (rows["act"].stats.min, rows["act"].stats.max) == (float(act.min()), float(act.max()))
    assert rows["act"].stats.mean == pytest.approx(float(act.mean()), rel=1e-5)
    norm_module = model.norm
    assert isinstance(norm_module, nn.BatchNorm2d)
    assert norm_module.running_mean is not None
    gap = (made["conv"].mean((0, 2, 3)) - norm_module.running_mean).abs().median()  # running variances are 1
    assert facts.norms[0].mean_gap == pytest.approx(float(gap), abs=0.05)


def test_a_glance_is_the_same_however_samples_are_cut() -> None:
    x = torch.randn(12, 16, 40, 40)
    whole, parts = (ChannelAccumulator(16, x.device) for _ in range(2))
    for accumulator, size in ((whole, 12), (parts, 5)):
        for part in x.split(size):
            seen = accumulator.look(part, 1, glance=True)
            assert seen is not None
            accumulator.add(seen)
    assert whole.glanced
    assert parts.glanced
    assert torch.equal(whole.low, parts.low)
    assert torch.equal(whole.high, parts.high)
    assert torch.allclose(whole.sums, parts.sums, rtol=1e-5)


def test_a_channel_that_is_not_finite_is_counted_in_full_at_a_glance() -> None:
    x = torch.randn(4, 16, 40, 40)
    x[2, 3] = math.nan
    accumulator = ChannelAccumulator(16, x.device)
    seen = accumulator.look(x, 1, glance=True)
    assert seen is not None
    assert not seen.calm
    accumulator.add(seen)
    assert accumulator.nonfinite.tolist() == [1600, 0, 0]


def test_the_layer_that_began_a_nan_is_the_one_named() -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
    with torch.no_grad():
        model[0].weight[2, 0, 0, 0] = float("nan")
    conv, norm, _ = probe(model, [torch.randn(2, 1, 9, 9)]).rows
    assert conv.stats.nan == norm.stats.nan == 2 * 49
    whole = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)).eval()
    with torch.no_grad():
        whole[1].bias[1] = float("inf")
    rows = probe(whole, [torch.randn(2, 1, 9, 9)]).rows
    assert [row.stats.nonfinite for row in rows] == [0, 2 * 49]


def test_a_wrong_guess_of_what_reads_a_layer_costs_nothing() -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.conv(x) + 1.0)

    model, x = Late().eval(), torch.randn(3, 2, 5, 5)
    facts = probe(model, [x])
    assert not facts.reasons
    with torch.no_grad():
        y = model.conv(x)
    assert not facts.rows[0].derived
    assert (facts.rows[0].stats.min, facts.rows[0].stats.max) == (float(y.min()), float(y.max()))


def test_units_at_the_flat_end_and_near_an_end_are_counted() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 5), nn.Tanh()).eval()
    with torch.no_grad():
        model[0].bias[3] = -30.0  # GELU gives nothing but zeros
        model[2].bias[1] = 20.0  # tanh sits at 1
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(3))
    rows = {row.name: row for row in probe(model, [x]).rows}
    assert rows["1"].channels[0].idle == 1
    with torch.no_grad():
        y = model(x)
    assert rows["3"].channels[0].saturated == 1
    assert rows["3"].saturated_share == pytest.approx(float((y.abs() > 0.97).double().mean()))
    assert rows["0"].saturated_share is None


def test_dormant_channels_are_those_far_below_the_mean() -> None:
    model = nn.Sequential(nn.Linear(1, 3, bias=False), nn.ReLU()).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0], [0.005], [-1.0]]))
    (channels,) = probe(model, [torch.rand(50, 1)]).rows[1].channels
    assert (channels.dormant, channels.silent) == (2, 1)


def test_energy_in_one_place_and_everywhere() -> None:
    model = nn.Sequential(nn.ReLU()).eval()
    spot = torch.zeros(2, 8, 10, 10)
    spot[:, :, 4, 4] = 1.0
    assert probe(model, [spot]).rows[0].concentration == pytest.approx(0.01)
    assert probe(model, [torch.ones(2, 8, 10, 10)]).rows[0].concentration == pytest.approx(1.0)


def test_layer_norm_rows_without_variance_are_counted() -> None:
    model = nn.Sequential(nn.LayerNorm(16)).eval()
    x = torch.randn(10, 8, 16)
    x[:, :2] = 0.5  # two of eight tokens are constant
    (row,) = probe(model, [x]).layer_norms
    assert (row.n_rows, row.tiny) == (80, 20)


class Residual(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.inner, self.scale = nn.Linear(32, 32), scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.inner(x)


def test_how_far_a_block_moves_what_passes() -> None:
    model = nn.Sequential(Residual(1e-5), Residual(1.0)).eval()
    x = torch.randn(20, 32, generator=torch.Generator().manual_seed(4))
    quiet, loud = probe(model, [x]).blocks
    with torch.no_grad():
        middle = model[0](x)
        wanted = float((model[1](middle) - middle).norm() / middle.norm())
    assert quiet.change < 1e-4
    assert loud.change == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("build", [cnn, Functional, lambda: Residual(0.5)])
def test_outputs_are_the_same_to_the_bit_under_the_probe(build: Callable[[], nn.Module]) -> None:
    model = build().eval().double()
    x = torch.randn(4, *{"Residual": (32,), "Functional": (3, 8, 8)}.get(type(model).__name__, (3, 6, 6))).double()
    watcher = ActivationProbe(model)
    with torch.no_grad():
        bare = model(x)
        with watcher.attached():
            watcher.next_batch(Batch((x,)))
            assert torch.equal(model(x), bare)


def test_nothing_of_an_activation_outlives_the_next_layer() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU()).eval()
    alive: list[weakref.ref[Tensor]] = []
    for layer in model:
        layer.register_forward_hook(lambda m, a, out: alive.append(weakref.ref(out)))
    watcher = ActivationProbe(model)
    with torch.no_grad(), watcher.attached():
        x = torch.randn(2, 3, 12, 12)
        watcher.next_batch(Batch((x,)))
        model(x)
        watcher.facts()
        gc.collect()
        assert [ref() for ref in alive] == [None] * 5


class SharedNorm(nn.Module):
    """One batch norm behind two convolutions: its second call reads the layer registered before it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.norm = nn.Conv2d(2, 4, 1), nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.second(self.norm(self.first(x))))


def test_a_norm_that_is_used_twice_tells_of_neither_layer() -> None:
    torch.manual_seed(5)
    model, x = SharedNorm().eval(), torch.randn(6, 2, 9, 9)
    with torch.no_grad():
        model.second.weight.mul_(10)
        wanted = model.second(model.norm(model.first(x)))
    rows = {row.name: row for row in probe(model, [x]).rows}
    assert (rows["second"].stats.min, rows["second"].stats.max) == (float(wanted.min()), float(wanted.max()))


def test_what_is_added_later_is_not_what_was_written_into_it_since() -> None:
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU(inplace=True)), torch.randn(40, 6)
    probe = ActivationProbe(model)
    with torch.no_grad(), probe.attached():
        probe.next_batch(Batch((x,)))
        model(x)
    stats = next(row for row in probe.facts().rows if row.name == "0").stats
    out = model[0](x).detach().double()
    assert (stats.zeros, stats.sum) == (0, pytest.approx(float(out.sum())))
    assert stats.m2 == pytest.approx(float((out - out.mean()).square().sum()))


def test_what_is_not_finite_in_small_outputs_is_found_in_its_own_layer() -> None:
    torch.manual_seed(6)
    model = nn.Sequential(*[nn.Linear(8, 8) for _ in range(20)]).eval()
    made: dict[str, Tensor] = {}

    def spoil(module: nn.Module, args: object, out: Tensor) -> Tensor:
        spoiled = out.clone()
        spoiled[3, 2], spoiled[5, 7], spoiled[1, 0] = math.nan, math.inf, -math.inf
        return spoiled

    model[4].register_forward_hook(spoil)
    model[5].register_forward_hook(lambda module, args, out: out.nan_to_num(0.0, 0.0, 0.0))
    for name, module in model.named_children():
        module.register_forward_hook(lambda m, a, out, name=name: made.__setitem__(name, out))
    rows = {row.name: row for row in probe(model, [torch.randn(12, 8)]).rows}
    for name, out in made.items():
        stats, finite = rows[name].stats, out[out.isfinite()].double()
        assert (stats.nan, stats.pos_inf, stats.neg_inf) == ((1, 1, 1) if name == "4" else (0, 0, 0))
        assert (stats.min, stats.max) == (float(finite.min()), float(finite.max()))
        assert stats.sum == pytest.approx(float(finite.sum()), rel=1e-6)
        assert stats.std == pytest.approx(float(finite.std(correction=0)), rel=1e-6)
        spread = rows[name].spread
        assert spread is not None
        assert spread.n_samples == 12


def test_a_wide_norm_before_an_activation_keeps_its_mean_and_what_is_not_finite() -> None:
    torch.manual_seed(7)
    model = nn.Sequential(nn.BatchNorm2d(600), nn.Hardswish()).eval()  # one place of each channel and sample is taken
    x = torch.randn(6, 600, 10, 10)
    row, behind = probe(model, [x[:4], x[4:]]).rows
    with torch.no_grad():
        y = model[0](x).double()
    assert row.glanced
    assert not behind.glanced
    assert row.stats.mean == pytest.approx(float(y.mean()), rel=1e-4, abs=1e-7)
    assert row.stats.std == pytest.approx(float(y.std()), rel=0.06)
    x[5, 17, 3, 3] = math.inf
    assert [row.stats.pos_inf for row in probe(model, [x]).rows] == [1, 1]


class Varying(nn.Module):
    """Runs its layers in another order, and some of them only, by the size of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(6))

    def forward(self, x: Tensor) -> Tensor:
        order = {5: range(6), 4: range(5, -1, -1), 3: (0, 3)}[len(x)]
        for i in order:
            x = self.layers[i](x).tanh()
        return x


def test_layers_that_run_in_changing_company_keep_their_own_figures() -> None:
    torch.manual_seed(8)
    model, inputs = Varying().eval(), [torch.randn(n, 8) for n in (5, 5, 4, 3, 5, 4)]
    made: dict[str, list[Tensor]] = {}
    for name, module in model.layers.named_children():
        module.register_forward_hook(lambda m, a, out, name=name: made.setdefault(f"layers.{name}", []).append(out))
    rows = {row.name: row for row in probe(model, inputs).rows}
    assert set(rows) == set(made)
    for name, outs in made.items():
        full = torch.cat(outs).double()
        stats = rows[name].stats
        assert (stats.count, stats.min, stats.max) == (full.numel(), float(full.min()), float(full.max()))
        assert stats.sum == pytest.approx(float(full.sum()), rel=1e-6)
        assert stats.std == pytest.approx(float(full.std(correction=0)), rel=1e-6)
        assert stats.histogram is not None
        assert sum(stats.histogram.counts) == full.numel()


def test_the_same_tokens_in_another_order_span_no_direction() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Embedding(8, 64), nn.Linear(64, 64)).eval()
    ordered = torch.stack([torch.randperm(8) for _ in range(64)])
    drawn = torch.randint(0, 8, (64, 8))
    rows = {row.name: row for row in probe(model, list(ordered.split(16))).rows}
    assert rows["0"].spread is None  # the mean of a sample is the same for all, but for rounding
    assert rows["1"].spread is None
    spread = {row.name: row for row in probe(model, list(drawn.split(16))).rows}["1"].spread
    assert spread is not None
    with torch.no_grad():
        cov = torch.cov(model(drawn).mean(1).T.double(), correction=0)
    assert spread.participation == pytest.approx(float(cov.trace() ** 2 / (cov * cov).sum()), rel=1e-3)


@pytest.mark.parametrize("code", ["one each", "counts", "rectified", "dead"])
def test_codes_and_counts_are_no_rectified_numbers(code: str) -> None:
    """Most columns of a code may rightly never be used; they have no units that died."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores, self.head = nn.Linear(8, 24), nn.Linear(24, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.scores(x)
            if code == "one each":
                y = functional.one_hot(y[:, :5].argmax(1), 24).to(y)
            elif code == "counts":
                y = functional.one_hot(y[:, :5].view(-1, 5).topk(3).indices % 4, 24).sum(1).to(y)
            else:
                y = functional.relu(y - (1e3 if code == "dead" else 0.0))
            return self.head(y)

    rows = {row.name: row for row in probe(Net(), [torch.randn(40, 8), torch.randn(30, 8)]).rows}
    assert ("head (input)" in rows) == (code in ("rectified", "dead"))


@pytest.mark.parametrize("known", [True, False])
def test_a_state_that_begins_with_zeros_is_no_dead_rectifier(known: bool) -> None:
    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w, self.u, self.act = nn.Linear(4, 16), nn.Linear(16, 16), nn.Tanh()

        def forward(self, x: Tensor) -> Tensor:
            h = torch.zeros(len(x), 16)
            for t in range(x.shape[1]):
                made = self.w(x[:, t]) + self.u(h)
                h = self.act(made) if known else torch.tanh(made)
            return h

    rows = {row.name: row for row in probe(Cell(), [torch.randn(40, 5, 4), torch.randn(30, 5, 4)]).rows}
    assert "u (input)" not in rows or min(c.silent for c in rows["u (input)"].channels) == 0


def test_a_mask_of_one_value_is_told_where_values_were_not_looked_at() -> None:
    def row(x: Tensor, silent: int) -> ActivationRow:
        channels = [ChannelFacts(call=0, n_channels=4, n_samples=50, n_batches=1, silent=silent, constant=0)]
        return ActivationRow(
            name="head (input)", kind="function", order=1, calls=1, shape="", stats=tensor_stats(x), channels=channels
        )

    flags = functional.one_hot(torch.arange(50) % 3, 4).float() * 1.25
    assert not is_rectified(row(flags, 1))
    assert is_rectified(row(torch.randn(50, 4).relu(), 0))
    assert is_rectified(row(torch.zeros(50, 4), 4))
    # all units but one are dead, and that one no longer moves
    assert is_rectified(row(torch.tensor([0.0, 0.7, 0.0, 0.0]).expand(50, 4).contiguous(), 3))
