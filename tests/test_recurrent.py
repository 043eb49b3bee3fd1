"""Recurrent layers from weights alone: radii against eigenvalues, gates against what a running cell does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import reportgen
from reportgen.document.facts import Finding, Report, WeightRow
from reportgen.page.build import build
from reportgen.probe import weights
from reportgen.probe.recurrent import LARGEST, radius

IDS = ("rnn-spectral-radius", "lstm-gates")


def told(report: Report) -> dict[str, Finding]:
    return {f.rule: f for f in report.findings if f.rule in IDS}


def rows(model: nn.Module) -> dict[str, WeightRow]:
    by_model, by_file = weights.of_model(model), weights.of_tensors(model.state_dict()).facts
    for one, other in zip(by_model.rows, by_file.rows, strict=True):
        assert (one.radius, one.gates) == (other.radius, other.gates)
    return {row.name: row for row in by_model.rows}


# ---- spectral radius


@pytest.mark.parametrize("side", [1, 2, 16, 100, 600])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_radius_is_that_of_the_eigenvalues(side: int, dtype: torch.dtype) -> None:
    torch.manual_seed(side)
    w = torch.randn(side, side, dtype=torch.float64).to(dtype)
    wanted = np.abs(np.linalg.eigvals(w.double().numpy())).max()
    assert radius(w) == pytest.approx(wanted, rel=1e-2)


@pytest.mark.parametrize(
    ("matrix", "wanted"),
    [
        (torch.zeros(20, 20), 0.0),
        (torch.eye(20) * 1e-30, 1e-30),
        (torch.eye(20) * 1e30, 1e30),
        (torch.linalg.qr(torch.randn(50, 50, generator=torch.Generator().manual_seed(0))).Q, 1.0),
        (torch.ones(20, 20).triu(1), 0.0),  # nilpotent
        (torch.tensor([[0.0, -2.0], [2.0, 0.0]]), 2.0),  # a turn: complex eigenvalues
    ],
)
def test_radii_of_special_matrices(matrix: Tensor, wanted: float) -> None:
    assert radius(matrix) == pytest.approx(wanted, rel=1e-2)


def test_what_is_too_large_or_not_square_has_no_radius() -> None:
    assert radius(torch.ones(1).expand(LARGEST + 1, LARGEST + 1)) is None
    assert radius(torch.ones(3, 4)) is None


@pytest.mark.parametrize("make", [lambda: nn.RNN(10, 32, num_layers=2, bidirectional=True), lambda: nn.RNNCell(10, 32)])
def test_plain_layers_have_a_radius_and_fresh_ones_no_remark(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = make()
    known = {name: row.radius for name, row in rows(model).items() if row.radius is not None}
    assert set(known) == {name for name, _ in model.named_parameters() if "weight_hh" in name}
    assert all(0.4 < value < 0.8 for value in known.values())  # the circular law: 0.58
    assert not told(reportgen.examine(model))


@pytest.mark.parametrize(("factor", "fires"), [(0.1, True), (0.7, False), (1.0, False), (1.4, False), (2.0, True)])
def test_states_that_grow_or_vanish_are_told(tmp_path: Path, factor: float, fires: bool) -> None:
    model = nn.RNN(10, 32)
    nn.init.orthogonal_(model.weight_hh_l0, gain=factor)
    torch.save(model.state_dict(), tmp_path / "x.pt")
    found = told(reportgen.examine(tmp_path / "x.pt"))
    assert bool(found) == fires
    if fires:
        assert found["rnn-spectral-radius"].evidence == {"radius": pytest.approx(factor, rel=1e-2), "layers": 1}


# ---- gates


@pytest.mark.parametrize("make", [lambda: nn.LSTM(10, 32, 2), lambda: nn.GRU(10, 32), lambda: nn.LSTMCell(10, 32)])
def test_gates_of_fresh_layers_move(make: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = make()
    found = [gate for row in rows(model).values() for gate in row.gates]
    names = {gate.name for gate in found}
    lstm = {"input gate", "forget gate", "output gate"}
    assert names == (lstm if isinstance(model, (nn.LSTM, nn.LSTMCell)) else {"reset gate", "update gate"})
    assert all(gate.closed == gate.opened == 0 and abs(gate.bias) < 0.1 for gate in found)
    assert not told(reportgen.examine(model))


def held(bias: float, gate: int, layers: type[nn.Module] = nn.LSTM) -> nn.Module:
    """Return a layer with 24 of 32 biases of one gate (in the order of torch) at a value."""
    torch.manual_seed(0)
    model = layers(10, 32)
    with torch.no_grad():
        model.bias_ih_l0[gate * 32 : gate * 32 + 24] = bias / 2  # type: ignore[index, union-attr]
        model.bias_hh_l0[gate * 32 : gate * 32 + 24] = bias / 2  # type: ignore[index, union-attr]
    return model


def test_held_gates_are_those_that_do_not_move_in_a_running_cell() -> None:
    model = held(-8.0, gate=1)
    row = rows(model)["weight_hh_l0"]
    (forget,) = (gate for gate in row.gates if gate.name == "forget gate")
    assert (forget.closed, forget.opened, forget.units) == (24, 0, 32)
    assert forget.bias == pytest.approx(-6, abs=0.1)
    x, h = torch.randn(20_000, 10), torch.randn(20_000, 32)
    w_ih, w_hh, b_ih, b_hh = (p.detach() for p in model.parameters())
    f = torch.sigmoid(x @ w_ih.T + b_ih + h @ w_hh.T + b_hh)[:, 32:64]
    assert int((f.amax(0) < 0.5).sum()) == 24  # over 20,000 steps, not once half open


@pytest.mark.parametrize(
    ("model", "gate"),
    [
        (held(-8.0, 1), "forget gate"),
        (held(-8.0, 3), "output gate"),
        (held(-8.0, 0), "input gate"),
        (held(8.0, 1, nn.GRU), "update gate"),
    ],
)
def test_gates_where_nothing_passes_are_told(model: nn.Module, gate: str) -> None:
    finding = told(reportgen.examine(model))["lstm-gates"]
    assert finding.subject == f"weight_hh_l0 · {gate}"
    assert finding.evidence["share"] == 24 / 32


def chrono() -> nn.Module:
    """Return an LSTM initialised for long memory (Tallec and Ollivier 2018): forget gates open, input gates shut."""
    model = held(7.0, 1)
    with torch.no_grad():
        model.bias_hh_l0[:24] = -7.0  # type: ignore[index, union-attr]
    return model


@pytest.mark.parametrize("model", [held(1.0, 1), held(3.0, 1), held(8.0, 1), held(-8.0, 0, nn.GRU), chrono()])
def test_gates_that_are_open_on_purpose_are_not(model: nn.Module) -> None:
    assert not told(reportgen.examine(model))


def test_gates_that_large_weights_can_move_are_not_held() -> None:
    model = held(-8.0, 1)
    with torch.no_grad():
        model.weight_ih_l0 *= 20  # type: ignore[operator]
    assert all(gate.closed == 0 for gate in rows(model)["weight_hh_l0"].gates)


def test_layers_that_lack_a_part_are_passed_over() -> None:
    for model in (nn.LSTM(10, 32, bias=False), nn.LSTM(10, 32, proj_size=8)):
        assert not any(row.gates for row in rows(model).values())
    state = nn.LSTM(10, 32).state_dict()
    for broken in (torch.full((128,), torch.nan), torch.ones(3), torch.ones(128, dtype=torch.int64)):
        facts = weights.of_tensors(state | {"bias_hh_l0": broken}).facts
        assert not any(row.gates for row in facts.rows)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_page_shows_gates_and_radii(language: str) -> None:
    report = reportgen.examine(nn.ModuleList([held(-8.0, 1), nn.RNN(4, 20)]))
    section = build(report, language).section("weights")  # type: ignore[arg-type]
    assert section is not None
    tables = {block.id: block for block in section.blocks if hasattr(block, "id")}
    assert [cell.text for cell in tables["gates"].rows[1]][-3:] == ["24", "0", "32"]  # type: ignore[union-attr]
    assert len(tables["radii"].rows) == 1  # type: ignore[union-attr]
