"""Rules on files of weights, each on a real file that is sick in one way, and on the same file as it was trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import nn

import reportgen
from reportgen.document.facts import Finding, Report, Severity
from reportgen.subject.vision import prepare

State = dict[str, Any]

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


def trained() -> State:
    """Train a small network on classes that are there to be learned; return a checkpoint of weights and optimizer."""
    torch.manual_seed(0)
    y = torch.arange(512) % 8
    x = torch.randn(8, 1, 8, 8)[y] + 0.3 * torch.randn(512, 1, 8, 8)
    net = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, 8),
    )
    optimizer = torch.optim.AdamW(net.parameters(), 3e-3)
    for _ in range(5):
        for i in torch.randperm(512).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[i]), y[i]).backward()
            optimizer.step()
    assert (net.eval()(x).argmax(1) == y).float().mean() > 0.9
    return {"model": net.state_dict(), "optimizer": optimizer.state_dict()}


@pytest.fixture(scope="module")
def healthy() -> State:
    return trained()


def examined(checkpoint: State, folder: Path) -> Report:
    torch.save(checkpoint, folder / "x.pt")
    return reportgen.examine(folder / "x.pt")


def serious(report: Report) -> dict[str, Finding]:
    return {f.rule: f for f in report.findings if f.severity is not Severity.INFO}


def copied(checkpoint: State) -> State:
    moments = {
        key: {name: t.clone() for name, t in one.items()} for key, one in checkpoint["optimizer"]["state"].items()
    }
    return {
        "model": {name: t.clone() for name, t in checkpoint["model"].items()},
        "optimizer": {**checkpoint["optimizer"], "state": moments},
    }


def test_a_trained_file_is_known_as_such_and_gets_no_remark(healthy: State, tmp_path: Path) -> None:
    report = examined(healthy, tmp_path)
    assert report.subject.state == "trained"
    assert not report.findings


def _fresh(model: State, _: State) -> None:
    torch.manual_seed(1)
    model["8.weight"] = nn.Linear(128, 64).weight.detach()


def _reset(model: State, _: State) -> None:
    model["4.running_mean"].zero_()
    model["4.running_var"].fill_(1.0)


def _never_stepped(_: State, moments: State) -> None:
    for one in moments.values():
        one["step"].zero_()


SICK: dict[str, tuple[Callable[[State, State], object], str, str, Severity]] = {
    "a layer of zeros": (lambda m, _: m["8.weight"].zero_(), "w-zero", "8.weight", Severity.WARNING),
    "gains of zero": (lambda m, _: m["4.weight"].zero_(), "w-zero", "4.weight", Severity.WARNING),
    "a constant weight": (lambda m, _: m["8.weight"].fill_(0.02), "w-rank-one", "8.weight", Severity.WARNING),
    "one column times one row": (
        lambda m, _: m["8.weight"].copy_(torch.outer(m["8.weight"][:, 0], m["8.weight"][0])),
        "w-rank-one",
        "8.weight",
        Severity.WARNING,
    ),
    "a layer that was never trained": (_fresh, "w-at-default-init", "8.weight", Severity.WARNING),
    "statistics set back": (_reset, "bn-never-updated", "4", Severity.WARNING),
    "a negative variance": (
        lambda m, _: m["1.running_var"][3].neg_(),
        "bn-negative-var",
        "1.running_var",
        Severity.ERROR,
    ),
    "NaN in a moment": (
        lambda _, s: s[6]["exp_avg"][0].fill_(torch.nan),
        "optimizer-state-nonfinite",
        "4.weight",
        Severity.ERROR,
    ),
    "a negative moment": (
        lambda _, s: s[8]["exp_avg_sq"][0].neg_(),
        "moments-impossible",
        "8.weight",
        Severity.ERROR,
    ),
    "a dead moment": (lambda _, s: s[4]["exp_avg_sq"].zero_(), "moments-dead", "3.weight", Severity.WARNING),
    "an optimizer without steps": (_never_stepped, "optimizer-state-missing", "optimizer", Severity.WARNING),
}


@pytest.mark.parametrize("name", SICK)
def test_a_sick_file_is_told_by_one_finding(name: str, healthy: State, tmp_path: Path) -> None:
    spoil, rule, subject, severity = SICK[name]
    checkpoint = copied(healthy)
    spoil(checkpoint["model"], checkpoint["optimizer"]["state"])
    found = serious(examined(checkpoint, tmp_path))
    assert set(found) == {rule}
    assert (found[rule].subject, found[rule].severity) == (subject, severity)


def test_second_moments_below_eps_inform(healthy: State, tmp_path: Path) -> None:
    checkpoint = copied(healthy)
    for one in checkpoint["optimizer"]["state"].values():
        one["exp_avg_sq"].mul_(1e-16)
    report = examined(checkpoint, tmp_path)
    assert not serious(report)
    (finding,) = (f for f in report.findings if f.rule == "adam-eps-floor")
    assert finding.evidence["of"] == 4
    assert finding.evidence["share"] > 0.9


def test_a_layer_of_which_most_channels_are_zero_informs(healthy: State, tmp_path: Path) -> None:
    checkpoint = copied(healthy)
    checkpoint["model"]["8.weight"][:40] = 0
    report = examined(checkpoint, tmp_path)
    assert not serious(report)
    (finding,) = report.findings
    assert (finding.rule, finding.subject) == ("w-dead-filters", "8.weight")
    assert finding.evidence["share"] == finding.evidence["zero"] == 40 / 64


def test_zeros_inform_where_nothing_tells_of_training(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {f"{i}.weight": torch.randn(64, 64) * 0.1 for i in range(4)}
    state["3.weight"].zero_()
    torch.save(state, tmp_path / "x.pt")
    (finding,) = reportgen.examine(tmp_path / "x.pt").findings
    assert (finding.rule, finding.severity) == ("w-zero", Severity.INFO)


def test_one_empty_part_of_a_stacked_weight_is_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {"attn.qkv.weight": torch.randn(192, 64) * 0.1, "norm.weight": 1 + 0.1 * torch.randn(64)}
    state["attn.qkv.weight"][64:128] = 0
    torch.save(state, tmp_path / "x.pt")
    found = serious(reportgen.examine(tmp_path / "x.pt"))
    assert set(found) == {"w-zero"}
    assert found["w-zero"].subject == "attn.qkv.weight · key"
    assert found["w-zero"].evidence == {"values": 4096, "tensors": 1}


@pytest.mark.parametrize("name", ["resnet18", "vit_b_16"])
@pytest.mark.slow
def test_fresh_models_with_zeros_of_their_own_get_no_warning(name: str, tmp_path: Path) -> None:
    """The head of a fresh ViT is zero, and so are the last gains of residual branches where they are asked to be."""
    prepare()
    import torchvision

    options = {"zero_init_residual": True} if name == "resnet18" else {}
    torch.save(getattr(torchvision.models, name)(**options).state_dict(), tmp_path / "x.pt")
    report = reportgen.examine(tmp_path / "x.pt", options=reportgen.Options(spectra="fast"))
    assert report.subject.state != "trained"
    assert not serious(report)


def test_adapters_that_start_at_zero_are_no_fault(healthy: State, tmp_path: Path) -> None:
    checkpoint = copied(healthy)
    checkpoint["model"] |= {"8.lora_A.weight": torch.randn(16, 128) * 0.1, "8.lora_B.weight": torch.zeros(64, 16)}
    assert not serious(examined(checkpoint, tmp_path))


def test_the_optimizer_of_a_distributed_checkpoint_is_found_by_numbers_kept_as_text(
    healthy: State, tmp_path: Path
) -> None:
    dcp.save(copied(healthy), checkpoint_id=str(tmp_path / "dcp"), no_dist=True)
    report = reportgen.examine(tmp_path / "dcp")
    assert report.weights is not None
    (state,) = report.weights.optimizers
    assert (state.kind, state.parameters, state.with_state, state.step) == ("Adam", 12, 12, 40)
    assert not report.findings
