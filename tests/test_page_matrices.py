"""What the page shows of the inside of weights: the noticeable first, true counts, small for thousands."""

from __future__ import annotations

import msgspec
import pytest
import torch
from torch import nn

import reportgen
from reportgen.document.codec import FORMAT_VERSION, decode, encode
from reportgen.document.facts import Meta, Report, SubjectFacts, WeightFacts
from reportgen.health.judge import judge
from reportgen.health.thresholds import Thresholds
from reportgen.options import Options
from reportgen.page.blocks import Figure, Pictures, Table
from reportgen.page.build import build
from reportgen.probe import weights
from reportgen.render.html import to_html


def report_of(facts: WeightFacts) -> Report:
    subject = SubjectFacts(name="x.safetensors", kind="checkpoint")
    return Report(format_version=FORMAT_VERSION, title="x", meta=Meta(), subject=subject, weights=facts)


def network(scale: float = 1.0) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    state = {f"layers.{i}.mlp.up_proj.weight": torch.randn(64, 300) * scale for i in range(6)}
    state |= {f"layers.{i}.norm.weight": torch.ones(64) for i in range(6)}
    return state | {"embed.weight": torch.randn(500, 64), "head.weight": torch.randn(500, 64) / 8}


def tables(report: Report) -> dict[str, Table]:
    return {block.id: block for block in build(report).tables}


def test_one_channel_has_no_diversity() -> None:
    state = network() | {"out.weight": torch.randn(1, 64)}
    shown = tables(report_of(weights.of_tensors(state, spectra="exact").facts))["kernels"]
    (alone,) = [row for row in shown.rows if row[0].text == "out.weight"]
    assert [cell.text for cell in alone[1:3]] == ["—", "—"]
    assert all(cell.sort is not None for row in shown.rows if row is not alone for cell in row[1:3])


def test_what_has_no_convolution_has_no_kernels() -> None:
    state = network()
    for n_convolutions, word in ((0, "channel"), (1, "kernel")):
        state |= {f"conv{i}.weight": torch.randn(8, 3, 3, 3) for i in range(n_convolutions)}
        shown = tables(report_of(weights.of_tensors(state).facts))["kernels"]
        assert f"dead {word}" in shown.caption
        assert any(word in column.title for column in shown.columns)


def test_the_noticeable_come_first() -> None:
    state = network()
    state["layers.3.mlp.up_proj.weight"][10:40] = 0
    state["layers.5.mlp.up_proj.weight"][2, 7] = 900
    shown = tables(report_of(weights.of_tensors(state, spectra="exact").facts))["matrices"]
    assert [row[0].text for row in shown.rows[:2]] == ["layers.5.mlp.up_proj.weight", "layers.3.mlp.up_proj.weight"]
    assert shown.total_rows == len(shown.rows) == 7
    columns = [column.title for column in shown.columns]
    dead = shown.rows[1][columns.index("Dead")]
    assert (dead.text, dead.sort) == ("30", 30)
    assert all(row[columns.index("Distribution")].chart is not None for row in shown.rows)


def test_everything_that_was_measured_is_on_the_page() -> None:
    report = report_of(weights.of_tensors(network(), spectra="exact").facts)
    assert {"matrices", "spectral", "kernels", "gains", "embeddings"} <= set(tables(report))
    section = build(report).section("weights")
    assert section is not None
    kinds = {block.id: block for block in section.blocks if isinstance(block, (Figure, Pictures))}
    assert isinstance(kinds["spectra"], Pictures)
    assert isinstance(kinds["matrices-by-depth"], Figure)
    assert "of the energy" in to_html(build(report)).decode()
    assert decode(encode(report)) == report


def test_estimates_show_their_error_and_draw_no_spectrum() -> None:
    torch.manual_seed(0)
    facts = weights.of_tensors(
        {"a.weight": torch.randn(300, 400), "b.weight": torch.randn(300, 400)}, spectra="fast"
    ).facts
    report = report_of(facts)
    assert "±" in tables(report)["spectral"].rows[0][1].text
    assert "id=spectra>" not in to_html(build(report)).decode()


def test_thousands_of_matrices_fit_into_two_megabytes() -> None:
    state = network()
    state["layers.0.mlp.up_proj.weight"][5] = 0
    row = weights.of_tensors(state, spectra="exact").facts.rows[0]
    rows = [
        msgspec.structs.replace(row, name=f"model.layers.{i}.experts.{i % 64}.up_proj.weight") for i in range(10_000)
    ]
    report = report_of(WeightFacts(rows=rows))
    page = to_html(build(report))
    assert len(page) < 2_000_000
    assert "10,000 matrices" in page.decode()


def test_healthy_weights_raise_nothing() -> None:
    for scale in (1 / 300**0.5, 0.02):
        report = judge(report_of(weights.of_tensors(network(scale), spectra="exact").facts), Thresholds())
        assert not report.diagnoses


def test_a_model_has_them_too_and_no_spectra_unless_asked() -> None:
    model = nn.Sequential(nn.Linear(40, 60), nn.LayerNorm(60), nn.Linear(60, 30))
    plain = reportgen.examine(model)
    assert plain.weights is not None
    assert plain.weights.rows[0].matrices[0].spectrum is None
    assert tables(plain)["matrices"].folded
    asked = reportgen.examine(model, options=Options(spectra="exact"))
    assert asked.weights is not None
    found = asked.weights.rows[0].matrices[0].spectrum
    assert found is not None
    assert found.norm == pytest.approx(float(torch.linalg.matrix_norm(model[0].weight.detach(), 2)), rel=1e-4)


def test_ctrl_c_makes_a_report_of_what_was_read(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{tmp_path}/x.pt"
    torch.save(network(), path)
    calls = []
    true = weights.sweep

    def interrupted(*args: object) -> object:
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return true(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(weights, "sweep", interrupted)
    report = reportgen.examine(path)
    assert report.weights is not None
    assert len(report.weights.rows) == 3
    (row,) = [row for row in report.coverage if row.part == "weights"]
    assert (row.status, row.reason) == ("partial", "interrupted after 3 of 14 tensors")


def test_a_bar_counts_bytes_when_asked(tmp_path: object, capsys: pytest.CaptureFixture[str]) -> None:
    path = f"{tmp_path}/x.pt"
    torch.save(network(), path)
    reportgen.examine(path)
    assert capsys.readouterr().err == ""
    reportgen.examine(path, options=Options(progress=True))
    assert "718k/718k" in capsys.readouterr().err
