"""Weights are found where people put them: inside tables of tables, in pairs, beside notes, beside an optimizer."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import reportgen
from reportgen.errors import CheckpointError
from reportgen.subject import checkpoint
from reportgen.subject.layouts import find_state


def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {"a.weight": torch.randn(64, 64), "a.bias": torch.randn(64), "b.weight": torch.randn(64, 64)}


def read(content: Any, folder: Path) -> checkpoint.Checkpoint:
    torch.save(content, folder / "x.pt")
    return checkpoint.read(folder / "x.pt")


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda w: {"run": {"last": {"state_dict": w, "epoch": 3}}}, "'state_dict' of a training checkpoint inside"),
        (lambda w: {"run": {"last": w}}, "'last' of a training checkpoint inside 'run'"),
        (lambda w: [w], "state dict"),
        (lambda w: (w, {"epoch": 3, "loss": 0.5}), "state dict"),
        (lambda w: {"state_dict": w | {"note": "best", "scale": 1.5, "args": [1, 2]}}, "left out: 1"),
    ],
)
def test_a_state_dict_inside_other_things(tmp_path: Path, wrap: Any, said: str) -> None:
    found = read(wrap(weights()), tmp_path)
    assert said in found.layout
    assert list(found.tensors) == list(weights())
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in weights().items())


def test_tables_of_tables_get_dotted_names(tmp_path: Path) -> None:
    one, two, three = torch.randn(3, 3), torch.randn(2), torch.randn(1)
    optimizer = {"state": {0: {"exp_avg": torch.randn(3)}}, "param_groups": [{"lr": 1.0}]}
    content = {"encoder": {"l1": {"w": one}, "rng": torch.ones(2)}, "decoder": {"l2": [two, three]}, "best": optimizer}
    found = read(content, tmp_path)
    assert {name: t.tolist() for name, t in found.tensors.items()} == {
        "encoder.l1.w": one.tolist(),
        "decoder.l2.0": two.tolist(),
        "decoder.l2.1": three.tolist(),
    }
    assert len(found.optimizers) == 1


def test_an_optimizer_alone_holds_no_weights(tmp_path: Path) -> None:
    optimizer = torch.optim.Adam(nn.Linear(3, 3).parameters())
    for content in (optimizer.state_dict(), {"optimizer": optimizer.state_dict()}):
        with pytest.raises(CheckpointError, match="holds no state dict"):
            read(content, tmp_path)


def test_tables_without_end_are_left() -> None:
    table: dict[str, Any] = {"w": torch.ones(2)}
    for _ in range(5000):
        table = {"x": table, "y": {}}
    assert find_state(table) == ({}, "tensors inside tables, under the names of their keys")
    table = {}
    table["x"] = table
    assert find_state(table)[0] == {}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"GGUF\x03\x00\x00\x00", "is a GGUF file"),
        (b"\x93NUMPY\x01\x00", "is an array of NumPy"),
        (b"7z\xbc\xaf\x27\x1c", "is a 7-Zip archive"),
        (pickle.dumps({"w": torch.ones(3)}), "is a pickle that torch.save did not write"),
    ],
)
def test_files_of_other_programs_are_named(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match=said):
        checkpoint.read(tmp_path / "x.bin")


def test_a_folder_with_one_file_of_weights_stands_for_it(tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "epoch3.pt")
    torch.save({}, tmp_path / "scheduler.pt")
    torch.save({}, tmp_path / "training_args.bin")
    assert list(checkpoint.read(tmp_path).tensors) == list(weights())
    torch.save(weights(), tmp_path / "epoch4.pt")
    with pytest.raises(CheckpointError, match=r"is a directory.*epoch3.pt, epoch4.pt"):
        checkpoint.read(tmp_path)


def test_a_folder_of_several_models_names_them(tmp_path: Path) -> None:
    for part in ("unet", "vae", "scheduler"):
        (tmp_path / part).mkdir()
    save_file(weights(), tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    save_file(weights(), tmp_path / "vae" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(CheckpointError, match=r"Name one of its files: unet, vae\."):
        checkpoint.read(tmp_path)


def test_the_optimizer_that_a_trainer_left_beside_the_weights(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(8, 32)).square().mean().backward()
        optimizer.step()
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")
    report = reportgen.examine(tmp_path)
    assert report.weights is not None
    (state,) = report.weights.optimizers
    assert (state.kind, state.step, state.rates, state.with_state) == ("Adam", 3, [3e-4], 4)
    (row,) = (row for row in report.coverage if row.part == "weights")
    assert row.reason == "safetensors, optimizer of optimizer.pt"
    for broken in (b"", b"PK\x03\x04 and so on", pickle.dumps(3)):
        (tmp_path / "optimizer.pt").write_bytes(broken)
        assert not checkpoint.read(tmp_path).optimizers


def test_packed_weights_are_told_and_not_measured(tmp_path: Path) -> None:
    state = {
        "q_proj.qweight": torch.randint(-(2**31), 2**31 - 1, (64, 64), dtype=torch.int32),
        "q_proj.scales": torch.rand(4, 64).half(),
        "q_proj.g_idx": torch.arange(64, dtype=torch.int32),
        "attn.bias": torch.ones(1, 1, 64, 64, dtype=torch.uint8),
        "embed.position_ids": torch.arange(512, dtype=torch.int32)[None],
        "bn.num_batches_tracked": torch.tensor(3),
    }
    save_file(state, tmp_path / "x.safetensors")
    report = reportgen.examine(tmp_path / "x.safetensors")
    (row,) = (row for row in report.coverage if row.part == "weights")
    assert row.status == "partial"
    assert row.reason == ("weights in whole or packed numbers were not measured: 1, q_proj.qweight; safetensors")
    assert report.weights is not None
    assert [r.name for r in report.weights.rows] == ["q_proj.scales"]


@pytest.mark.filterwarnings("ignore")
def test_quantized_tensors_are_measured_by_what_they_stand_for(tmp_path: Path) -> None:
    w = torch.randn(64, 64)
    quantized = torch.quantize_per_tensor(w, 0.05, 0, torch.qint8)
    torch.save({"l.weight": quantized}, tmp_path / "x.pt")
    facts = reportgen.examine(tmp_path / "x.pt").weights
    assert facts is not None
    (row,) = facts.rows
    assert row.stats is not None
    assert row.stats.std == pytest.approx(float(quantized.dequantize().double().std(correction=0)), rel=1e-6)


def test_a_scalar_and_empty_tensors_are_read(tmp_path: Path) -> None:
    state = {"scale": torch.tensor(3.0), "a.weight": torch.ones(0, 5), "b.weight": torch.ones(5, 0)}
    torch.save(state, tmp_path / "x.pt")
    facts = reportgen.examine(tmp_path / "x.pt").weights
    assert facts is not None
    assert {row.name: row.stats.count for row in facts.rows if row.stats is not None} == {
        "scale": 1,
        "a.weight": 0,
        "b.weight": 0,
    }


def test_an_index_that_names_a_lost_shard(tmp_path: Path) -> None:
    save_file(weights(), tmp_path / "m-1.safetensors")
    table = dict.fromkeys(weights(), "m-1.safetensors") | {"z.weight": "m-2.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    with pytest.raises(CheckpointError, match=r"of which 1 are missing: m-2\.safetensors"):
        checkpoint.read(tmp_path)


def test_a_sparse_weight_of_a_size_that_nobody_lays_out_is_told(tmp_path: Path) -> None:
    one = torch.sparse_coo_tensor(torch.tensor([[0], [0]]), torch.ones(1), (10**9, 10**9), check_invariants=True)
    torch.save({"vast.weight": one, "fc.weight": torch.randn(20, 20)}, tmp_path / "x.pt")
    report = reportgen.examine(tmp_path / "x.pt")
    row = next(c for c in report.coverage if c.part == "weights")
    said = "sparse weights too large to be laid out in full were not measured: 1, vast.weight; state dict"
    assert (row.status, row.reason) == ("partial", said)
