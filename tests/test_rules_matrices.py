"""Remarks on the inside of weights, measured on real tensors: where they must come and where not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import reportgen
from reportgen.document.facts import Finding, Report, Severity
from reportgen.health.rules import matrices
from reportgen.options import Options
from reportgen.subject.model import load_model

IDS = {rule.__name__.replace("_", "-") for rule in matrices.RULES}


def examined(state: dict[str, Tensor], folder: Path, **options: object) -> Report:
    path = folder / "weights.pt"
    torch.save(state, path)
    return reportgen.examine(path, options=Options(**options))  # type: ignore[arg-type]


def told(report: Report) -> dict[str, Finding]:
    return {f.rule: f for f in report.findings if f.rule in IDS}


def network() -> dict[str, Tensor]:
    """Return weights such as a small trained network has: normal, of every size, one far value in ten thousand."""
    torch.manual_seed(0)
    state = {f"layers.{i}.weight": torch.randn(64, 128) * 0.05 * 2.0**i for i in range(4)}
    state |= {f"norm{i}.weight": 1 + 0.3 * torch.randn(64) for i in range(4)}
    state["layers.2.weight"][3, 7] *= 6
    return state


def test_usual_weights_get_no_remark(tmp_path: Path) -> None:
    assert not told(examined(network(), tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "vit_b_32"])
def test_fresh_models_of_torchvision_get_no_remark(name: str) -> None:
    report = reportgen.examine(load_model(f"torchvision:{name}"), options=Options(spectra="off"))
    assert not told(report)


def test_channels_with_next_to_no_weight(tmp_path: Path) -> None:
    state = network()
    state["layers.1.weight"][:20] *= 1e-5
    state["layers.1.weight"][:4] = 0
    found = told(examined(state, tmp_path))
    assert set(found) == {"w-dead-filters"}
    finding = found["w-dead-filters"]
    assert finding.subject == "layers.1.weight"
    assert finding.severity is Severity.INFO
    assert finding.evidence == {"share": 20 / 64, "channels": 64, "zero": 4 / 64, "layers": 1}
    state = network()
    state["layers.1.weight"][:12] = 0  # below a fifth
    state["layers.2.weight"].zero_()  # a branch that starts at zero
    assert not told(examined(state, tmp_path))


def test_a_residual_branch_that_starts_at_zero_is_no_dead_layer() -> None:
    model = nn.Sequential(nn.Conv2d(16, 32, 3, bias=False), nn.BatchNorm2d(32))
    nn.init.zeros_(model[1].weight)
    assert not told(reportgen.examine(model.eval()))


def test_channels_that_repeat_others(tmp_path: Path) -> None:
    state = network()
    state["layers.3.weight"][32:] = state["layers.3.weight"][:32]
    found = told(examined(state, tmp_path))
    assert set(found) == {"w-copies"}
    assert found["w-copies"].evidence == {"share": 0.5, "channels": 64, "layers": 1}
    blur = torch.tensor([1.0, 2, 1]).outer(torch.tensor([1.0, 2, 1])).expand(64, 1, 3, 3).clone()
    assert not told(examined(network() | {"blur.weight": blur}, tmp_path))  # depthwise: the same filter for each


def test_a_far_value_spoils_one_scale_for_all(tmp_path: Path) -> None:
    state = network()
    state["layers.0.weight"][5, 5] = 200 * 0.05
    found = told(examined(state, tmp_path))
    assert set(found) == {"q-weight-sqnr"}
    w = state["layers.0.weight"].double()
    scale = w.abs().max() / 127
    noise = (w / scale).round() * scale - w
    evidence = found["q-weight-sqnr"].evidence
    assert evidence["tensor"] == pytest.approx(float(20 * torch.log10(w.norm() / noise.norm())), abs=0.01)
    assert evidence["channel"] > evidence["tensor"] + 10


def test_a_gain_far_above_the_others(tmp_path: Path) -> None:
    state = network()
    state["norm1.weight"][9] = 40.0
    found = told(examined(state, tmp_path))
    assert set(found) == {"norm-gain"}
    assert found["norm-gain"].subject == "norm1.weight"
    around_zero = network()
    around_zero["norm1.weight"] = 0.05 * torch.randn(64)
    around_zero["norm1.weight"][9] = 3.0  # multiplies by 1 + gain
    assert not told(examined(around_zero, tmp_path))


def test_what_rests_while_others_learn(tmp_path: Path) -> None:
    state, later = network(), network()
    torch.save(state, tmp_path / "first.pt")
    first = [str(tmp_path / "first.pt")]
    for i in range(3):
        later[f"layers.{i}.weight"] += 0.01 * later[f"layers.{i}.weight"].std() * torch.randn(64, 128)
    finding = told(examined(later, tmp_path, earlier=first))["weights-rest"]
    assert finding.severity is Severity.INFO
    assert finding.subject == "layers.3.weight"
    assert finding.evidence == {"tensors": 1, "of": 4, "checkpoints": 2}
    assert not told(examined(state, tmp_path, earlier=first))  # nothing learned: nothing rests beside it
    later["layers.3.weight"] += 1e-6
    assert not told(examined(later, tmp_path, earlier=first))


def folded(spread: float) -> nn.Sequential:
    """Return a convolution and its batch norm; one gain in sixteen is ``spread`` times the others."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(16, 64, 3, bias=False), nn.BatchNorm2d(64))
    model(torch.randn(64, 16, 8, 8))
    with torch.no_grad():
        model[1].weight[::16] *= spread
    return model.eval()


@pytest.mark.parametrize(("spread", "fires"), [(1.0, False), (5.0, False), (30.0, True)])
def test_channels_that_a_batch_norm_pulls_apart(spread: float, fires: bool) -> None:
    model = folded(spread)
    found = told(reportgen.examine(model))
    assert ("q-channel-range" in found) == fires
    if fires:
        norm = model[1]
        own = model[0].weight.detach().flatten(1).norm(dim=1)
        folded_norms = own * norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
        finding = found["q-channel-range"]
        assert finding.subject == "0.weight"
        assert finding.evidence["ratio"] == pytest.approx(float(folded_norms.max() / folded_norms.median()), rel=1e-4)


def test_random_channels_of_any_width_are_alike(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for fan_in in (9, 27, 576):
        assert not told(examined({"conv1.weight": torch.randn(256, fan_in)}, tmp_path))
