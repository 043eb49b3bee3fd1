"""Whatever a file of weights holds, examining it ends in one clear error or in a report that can be written."""

from __future__ import annotations

import json
import math
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

import reportgen
from reportgen.document.facts import Report
from reportgen.errors import CheckpointError
from reportgen.page.build import build
from reportgen.probe import spectra
from reportgen.probe.spectra import lanczos, spectrum
from reportgen.probe.states import state_of
from reportgen.probe.sweep import sweep
from reportgen.render.html import to_html


def outcome(path: Path) -> Report | None:
    """Examine a file; None where it is refused. No part of the report may have failed."""
    try:
        report = reportgen.examine(path)
    except CheckpointError:
        return None
    assert not [row for row in report.coverage if row.failed]
    to_html(build(report))
    return report


# ---- safetensors

DTYPES = ["F32", "F64", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F4", "I8", "U64", "BOOL", "C64", "X", 3, None]
sizes = st.one_of(st.integers(0, 5), st.integers(-2, 2**64), st.just(10**6))
shapes = st.one_of(st.lists(sizes, max_size=4), st.just([4, 4]), st.none(), st.text(max_size=3))
offsets = st.one_of(st.lists(st.integers(0, 80), min_size=2, max_size=2), st.just([0, 64]), st.none(), st.lists(sizes))
entries = st.fixed_dictionaries({"dtype": st.sampled_from(DTYPES), "shape": shapes, "data_offsets": offsets})
headers = st.dictionaries(st.text(max_size=6), st.one_of(entries, st.none(), st.integers()), max_size=3)


@settings(max_examples=100, deadline=None)
@given(header=headers, length=st.one_of(st.none(), st.integers(0, 2**64 - 1)), data=st.binary(max_size=80))
def test_any_header_of_safetensors(header: dict[str, Any], length: int | None, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps(header).encode()
        path = Path(folder) / "x.safetensors"
        path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
        outcome(path)


@settings(max_examples=50, deadline=None)
@given(dtype=st.sampled_from([d for d in DTYPES if isinstance(d, str)]), data=st.binary(min_size=64, max_size=64))
def test_any_bits_in_any_number_format(dtype: str, data: bytes) -> None:
    bits = {"F64": 64, "U64": 64, "C64": 64, "F32": 32, "F16": 16, "BF16": 16, "F4": 4}.get(dtype, 8)
    with tempfile.TemporaryDirectory() as folder:
        entry = {"dtype": dtype, "shape": [4, 512 // bits // 4], "data_offsets": [0, 64]}
        text = json.dumps({"a.weight": entry}).encode()
        path = Path(folder) / "x.safetensors"
        path.write_bytes(struct.pack("<Q", len(text)) + text + (data if dtype != "BOOL" else bytes(64)))
        outcome(path)


# ---- indices of shards

FILES = ["a.safetensors", "absent.safetensors", "../a.safetensors", "/etc/passwd", "", ".", "..", "x\x00", "\ud800"]
files = st.one_of(st.sampled_from(FILES), st.text(max_size=4), st.integers(), st.none())
names = st.one_of(st.sampled_from(["w.weight", "absent", "\udfff", ""]), st.text(max_size=4))
indices = st.one_of(
    st.fixed_dictionaries({"weight_map": st.dictionaries(names, files, max_size=3)}),
    st.fixed_dictionaries({"weight_map": st.one_of(st.none(), st.lists(files, max_size=2))}),
    st.lists(st.integers(), max_size=2),
)


@settings(max_examples=80, deadline=None)
@given(index=indices, cut=st.one_of(st.none(), st.integers(0, 40)))
def test_any_index(index: Any, cut: int | None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        save_file({"w.weight": torch.ones(4, 4)}, Path(folder) / "a.safetensors")
        path = Path(folder) / "model.safetensors.index.json"
        path.write_bytes(json.dumps(index).encode()[:cut])
        report = outcome(path)
        if report is not None:
            assert report.weights is not None
            assert [row.name for row in report.weights.rows] == ["w.weight"]


def test_a_link_that_leads_elsewhere_is_read_as_weights_only(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden words " * 100)
    (tmp_path / "loop.safetensors").symlink_to(tmp_path / "loop.safetensors")
    (tmp_path / "a.safetensors").symlink_to(tmp_path / "secret")
    path = tmp_path / "model.safetensors.index.json"
    for name, words in (("a.safetensors", "damaged or cut short"), ("loop.safetensors", "missing")):
        path.write_text(json.dumps({"weight_map": {"w": name}}))
        with pytest.raises(CheckpointError, match=words) as caught:
            reportgen.examine(path)
        assert "hidden" not in str(caught.value)


def test_deep_and_huge_tables_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors.index.json"
    for content in ("[" * 10**6, '{"weight_map": {"a": "x"}, "n": ' + "9" * 10_000 + "}"):
        path.write_text(content)
        with pytest.raises(CheckpointError, match="damaged"):
            reportgen.examine(path)


# ---- values at the ends of their range, in every type, with the state of an optimizer beside them

REAL = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
NAMES = ["q_proj.weight", "qkv.weight", "conv1.weight", "bn.weight", "bn.running_var", "wte.weight", "l.weight_hh_l0"]
MAGNITUDES = [5e-324, 1e-310, 1e-45, 1e-38, 1e-19, 1e-5, 1.0, 1e4, 1e19, 3e38, 1e40, 1e75, 1e154, 1.7e308]
sides = st.sampled_from([0, 1, 2, 3, 16, 64])


@st.composite
def extreme(draw: st.DrawFn) -> Tensor:
    """Draw a tensor whose values span one or two magnitudes, perhaps with one value that stands out."""
    shape = draw(st.lists(sides, min_size=2, max_size=2)) + draw(st.sampled_from([[], [], [3, 3]]))
    x = torch.randn(shape, generator=torch.Generator().manual_seed(draw(st.integers(0, 99))), dtype=torch.float64)
    low, high = draw(st.sampled_from(MAGNITUDES)), draw(st.sampled_from(MAGNITUDES))
    x = x.sign() * torch.where(x.abs() > 0.7, torch.tensor(low), torch.tensor(high).double() * x.abs().clamp(max=1))
    if x.numel() and draw(st.booleans()):
        x.view(-1)[-1] = draw(st.sampled_from([math.nan, math.inf, -math.inf, 0.0, 1e300, -3e38]))
    return x.to(draw(st.sampled_from(REAL)))


@settings(max_examples=25, deadline=None)
@given(
    tensors=st.dictionaries(st.sampled_from(NAMES), extreme(), min_size=1, max_size=3),
    moment=extreme(),
    spectra=st.sampled_from(["off", "fast", "exact"]),
)
def test_values_at_the_ends_of_their_range(tensors: dict[str, Tensor], moment: Tensor, spectra: Any) -> None:
    held = {"state": {0: {"step": 3, "exp_avg": moment, "exp_avg_sq": moment}}, "param_groups": [{"params": [0]}]}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pt"
        torch.save({"state_dict": tensors, "optimizer": held}, path)
        report = reportgen.examine(path, options=reportgen.Options(spectra=spectra))
        assert not [row for row in report.coverage if row.failed]
        to_html(build(report))
        reportgen.write(report, Path(folder) / "x.json")
        assert reportgen.read(Path(folder) / "x.json").weights == report.weights


@pytest.mark.parametrize("magnitude", [1e-40, 1e-25, 1e-12, 1e-9, 1e6, 1e14, 1e19, 1e37])
@pytest.mark.parametrize("method", ["fast", "exact"])
def test_spectra_of_any_magnitude_are_those_of_a_plain_decomposition(magnitude: float, method: Any) -> None:
    torch.manual_seed(0)
    for x in (torch.ones(300, 300), torch.randn(300, 400)):
        x = (x.double() * (magnitude / float(x.abs().max()))).float()
        found = spectrum(x, method, magnitude)
        values = np.linalg.svd(x.double().numpy(), compute_uv=False)
        assert found is not None
        assert found.norm == pytest.approx(values[0], rel=2e-2)
        assert found.stable_rank == pytest.approx((values**2).sum() / values[0] ** 2, rel=4e-2)


@pytest.mark.parametrize("pattern", ["equal", "alternating", "halves"])
def test_spectra_of_few_values_are_found_at_every_size(pattern: str) -> None:
    for side in range(4, 120, 2):
        v = torch.ones(side)
        if pattern == "alternating":
            v[::2] = -1
        elif pattern == "halves":
            v[side // 2 :] = -1
        found = lanczos(torch.outer(v, v))
        assert found is not None
        assert found.norm == pytest.approx(side, rel=2e-2)
        assert found.stable_rank == pytest.approx(1.0, rel=4e-2)


def test_views_that_are_conjugated_or_negated_are_measured_as_what_they_show(tmp_path: Path) -> None:
    torch.manual_seed(0)
    z, x = torch.randn(20, 20, dtype=torch.complex64), torch.randn(20, 20)
    torch.save({"z.weight": z.conj(), "x.weight": torch._neg_view(x)}, tmp_path / "x.pt")
    report = outcome(tmp_path / "x.pt")
    assert report is not None
    assert report.weights is not None
    first, second = (row.stats for row in report.weights.rows)
    assert first is not None
    assert second is not None
    assert first.mean == pytest.approx(float(torch.view_as_real(z.conj().resolve_conj()).mean()), rel=1e-4)
    assert (second.min, second.max) == (-float(x.max()), -float(x.min()))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_nested_tensor_is_refused_by_name(tmp_path: Path) -> None:
    torch.save({"w.weight": torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(4, 3)])}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=r"w\.weight is a nested tensor"):
        reportgen.examine(tmp_path / "x.pt")


# ---- numbers of 8 and 4 bits, with which torch does not compute


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2], ids=str)
def test_weights_of_8_bits_are_measured(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    x = torch.randn(600, 400).to(dtype)
    found, a = sweep(x), x.double().numpy()
    assert (found.stats.min, found.stats.max, found.stats.zeros) == (a.min(), a.max(), int((a == 0).sum()))
    assert found.stats.std == pytest.approx(a.std(), rel=1e-5)
    np.testing.assert_allclose(found.squares, (a**2).sum(1), rtol=1e-5)
    norm = float(np.linalg.norm(a, 2))
    monkeypatch.setattr(spectra, "_BLOCK", 1 << 14)
    for side in (0, 1024):
        monkeypatch.setattr(spectra, "_SMALL_GRAM", side)
        fast = spectrum(x, "fast")
        assert fast is not None
        assert fast.norm == pytest.approx(norm, rel=2e-2)
        assert fast.stable_rank == pytest.approx((a**2).sum() / norm**2, rel=2e-2)


# ---- states of optimizers


def state(**moments: Any) -> dict[str, Any]:
    group = {"params": [0], "lr": "fast", "betas": ("x", None), "eps": []}
    return {"state": {0: moments}, "param_groups": [group]}


@pytest.mark.parametrize(
    "moments",
    [
        {"step": "x", "exp_avg": torch.ones(2, 2), "exp_avg_sq": torch.ones(3)},
        {"step": -1e9, "exp_avg": torch.ones(2, 2), "exp_avg_sq": torch.ones(2, 2)},
        {"step": math.inf, "exp_avg": torch.ones(2, 2), "exp_avg_sq": torch.ones(2, 2)},
        {"step": torch.ones(3), "exp_avg": torch.eye(2).to_sparse(), "exp_avg_sq": torch.eye(2).to_sparse()},
        {"exp_avg": torch.zeros(0), "exp_avg_sq": torch.zeros(0)},
        {"exp_avg": [1], "exp_avg_sq": torch.ones(2, dtype=torch.int64)},
    ],
)
def test_states_that_no_optimizer_makes_are_passed_over(moments: dict[str, Tensor]) -> None:
    found = state_of(state(**moments), [("w", (2, 2))])
    assert found is not None
    assert (found.parameters, found.rates, found.betas, found.eps) == (1, [], [], None)
    assert all(row.stale is None or math.isfinite(row.stale) for row in found.rows)
