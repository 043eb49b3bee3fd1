"""Weights come back as they were saved, damaged and hostile files come back as one clear line."""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import struct
import sys
import tempfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from reportgen.errors import CheckpointError, OptionError
from reportgen.subject.checkpoint import load_into, read

State = dict[str, Tensor]

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    dtype = draw(st.sampled_from(DTYPES))
    return torch.randint(0, 2, shape).to(dtype)


part = st.text("abw01_", min_size=1, max_size=4)
names = st.lists(part, min_size=1, max_size=3).map(".".join)
states = st.dictionaries(names, tensors(), min_size=1, max_size=6)


def save_zip(state: Any, path: Path) -> None:
    torch.save(state, path)


def save_legacy(state: Any, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


FORMATS: dict[str, Callable[[Any, Path], None]] = {"zip": save_zip, "legacy": save_legacy}
LAYOUTS: dict[str, Callable[[State], Any]] = {
    "raw": lambda s: s,
    "ordered": lambda s: OrderedDict(s),
    "model_state_dict": lambda s: {"model_state_dict": s, "epoch": 3, "lr": 0.1, "optimizer": {"state": {}, "x": []}},
    "state_dict": lambda s: {"epoch": 3, "state_dict": s, "state_dict_ema": {k: v * 0 for k, v in s.items()}},
    "model": lambda s: {"model": s, "rng": torch.get_rng_state(), "best": torch.tensor(0.5)},
    "net": lambda s: {"net": s},
    "network": lambda s: {"network": s},
    "module": lambda s: {"module": s},
    "model_ema": lambda s: {"model_ema": s},
    "generator": lambda s: {"generator": s, "rng_state": {"cpu": torch.get_rng_state()}, "step": 9},
    "wrapped": lambda s: {f"module.{k}": v for k, v in s.items()},
    "compiled": lambda s: {"state_dict": {f"_orig_mod.{k}": v for k, v in s.items()}},
    "lightning": lambda s: {"state_dict": {f"model._orig_mod.module.{k}": v for k, v in s.items()}, "epoch": 3},
    "average": lambda s: {"model_ema": {"n_averaged": torch.tensor(7)} | {f"module.{k}": v for k, v in s.items()}},
}


def assert_same(read_back: Any, state: State) -> None:
    assert set(read_back) == set(state)
    for name, tensor in state.items():
        assert read_back[name].dtype == tensor.dtype
        assert torch.equal(read_back[name], tensor)


@given(states, st.sampled_from(sorted(LAYOUTS)), st.sampled_from(sorted(FORMATS)))
@settings(max_examples=80, deadline=None)
def test_every_layout_comes_back(state: State, layout: str, form: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.pt"
        FORMATS[form](LAYOUTS[layout](state), path)
        found = read(path)
        assert_same(found.tensors, state)


@given(states, st.sampled_from(["", "module.", "_orig_mod.", "model.module."]))
@settings(max_examples=40, deadline=None)
def test_safetensors_come_back_one_by_one(state: State, prefix: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        save_file({prefix + name: tensor for name, tensor in state.items()}, path, {"epoch": "3"})
        found = read(path)
        assert found.extra == {"epoch": "3"}
        assert len(found.tensors) == len(state)
        assert "no such name" not in found.tensors
        assert_same(found.tensors, state)


def test_what_was_found_is_said(tmp_path: Path) -> None:
    def said(content: Any) -> tuple[str, dict[str, Any]]:
        torch.save(content, tmp_path / "x.pt")
        found = read(tmp_path / "x.pt")
        return found.layout, found.extra

    state = {"a.weight": torch.ones(2), "b": torch.ones(1)}
    assert said(state) == ("state dict", {})
    assert said(state | {"epoch": 3, "hyper": [1]}) == (
        "state dict (entries that are no tensors left out: 1)",
        {"epoch": 3},
    )
    assert said({"model": state, "epoch": 3, "arch": "r18", "best": torch.tensor(2.0), "args": {"lr": 1}}) == (
        "'model' of a training checkpoint",
        {"epoch": 3, "arch": "r18", "best": 2.0},
    )
    assert said({"state_dict_ema": state, "state_dict": state})[0] == (
        "'state_dict' of a training checkpoint ('state_dict_ema' left aside: averaged weights)"
    )
    assert said({"model_ema": state})[0] == "'model_ema' of a training checkpoint (averaged weights)"
    assert said({"model": {f"module.model.{k}": v for k, v in state.items()}})[0] == (
        "'model' of a training checkpoint, prefix 'module.model.' taken off all names"
    )
    assert said(LAYOUTS["average"](state))[1] == {"n_averaged": 7}


def test_a_prefix_that_some_names_lack_stays(tmp_path: Path) -> None:
    state = {"model.embed.weight": torch.ones(2), "lm_head.weight": torch.ones(2)}
    torch.save(state, tmp_path / "x.pt")
    assert_same(read(tmp_path / "x.pt").tensors, state)


def test_several_state_dicts_are_joined(tmp_path: Path) -> None:
    torch.save(
        {"gen": {"w": torch.ones(1)}, "disc": {"w": torch.zeros(1)}, "opt_rng": {"x": torch.ones(1)}}, tmp_path / "x"
    )
    found = read(tmp_path / "x")
    assert sorted(found.tensors) == ["disc.w", "gen.w"]
    assert found.layout == "'gen' and 'disc' of a training checkpoint, joined under these names"


def test_parameters_extra_state_and_views_are_fine(tmp_path: Path) -> None:
    base = torch.arange(12.0)
    state = {
        "p": nn.Parameter(torch.ones(2)),
        "row": base[:4],
        "column": base.view(3, 4).t(),
        "tied": base,
        "mask": torch.tensor([True]).expand(4, 4),
        "m._extra_state": {"scale": 2},
    }
    torch.save({"model": state}, tmp_path / "x.pt")
    found = read(tmp_path / "x.pt").tensors
    assert_same(found, {k: v for k, v in state.items() if isinstance(v, Tensor)})
    assert not found["p"].requires_grad


def test_sparse_tensors_are_read(tmp_path: Path) -> None:
    torch.save({"s": torch.eye(3).to_sparse()}, tmp_path / "x.pt")
    assert torch.equal(read(tmp_path / "x.pt").tensors["s"].to_dense(), torch.eye(3))


def test_writing_into_a_tensor_leaves_the_file_alone(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(3)}, tmp_path / "x.pt")
    read(tmp_path / "x.pt").tensors["w"].zero_()
    assert read(tmp_path / "x.pt").tensors["w"].sum() == 3


# ---- refused


class Ours:
    """A class that only a pickle knows of."""


def refused(path: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        dict(read(path).tensors)
    text = str(caught.value)
    assert "\n" not in text
    assert "\x1b" not in text
    assert path.name in text
    return text


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_pickled_classes_are_named_and_refused(tmp_path: Path, form: str) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "was_run"),)

    for content, name in [
        ({"state_dict": {"w": torch.ones(1)}, "args": argparse.Namespace()}, "argparse.Namespace"),
        (nn.Linear(1, 1), "torch.nn.modules.linear.Linear"),
        ({"w": torch.ones(1), "x": Ours()}, f"{__name__}.Ours"),
        ({"w": torch.ones(1), "x": Bomb()}, "posix.mkdir"),
    ]:
        FORMATS[form](content, tmp_path / "x.pt")
        text = refused(tmp_path / "x.pt")
        assert name in text
        assert "model.state_dict()" in text
    assert not (tmp_path / "was_run").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (torch.ones(2), "holds a Tensor; expected a state dict"),
        ([torch.ones(2)], "holds a list"),
        ({}, "empty dictionary"),
        (
            {"state": {0: {"exp_avg": torch.ones(1)}}, "param_groups": [{"lr": 1}]},
            "its keys are 'state', 'param_groups'",
        ),
        ({"epoch": 3}, "its keys are 'epoch'"),
        ({"w": torch.zeros(1).expand(10**12)}, "w claims 4000000000000 bytes but its storage holds 4"),
        ({str(i): torch.zeros(1).expand(10**6) for i in range(30)}, "claims 4000000 bytes"),
        ({"w": torch.empty(10**6, 10**6, device="meta")}, "w has no data"),
    ],
)
def test_files_without_a_usable_state_dict(tmp_path: Path, content: Any, said: str) -> None:
    torch.save(content, tmp_path / "x.pt")
    assert said in refused(tmp_path / "x.pt")


def test_a_sparse_bomb_is_refused_before_it_is_read(tmp_path: Path) -> None:
    index = torch.zeros(1, 1, dtype=torch.int64).expand(1, 10**12)
    bomb = torch.sparse_coo_tensor(index, torch.zeros(1).expand(10**12), (2,), check_invariants=False)
    torch.save({"w": bomb}, tmp_path / "x.pt")
    assert "claims" in refused(tmp_path / "x.pt")


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")
def test_invalid_sparse_tensors_are_refused(tmp_path: Path) -> None:
    two = torch.tensor([0, 7])
    outside = torch.sparse_coo_tensor(two[None], torch.ones(2), (3,), check_invariants=False)
    torch.save({"w": outside}, tmp_path / "x.pt")
    assert "w is an invalid sparse tensor" in refused(tmp_path / "x.pt")
    rows = torch.sparse_csr_tensor(torch.tensor([0, 1, 2]), two, torch.ones(2), (2, 2), check_invariants=False)
    torch.save({"w": rows}, tmp_path / "x.pt")
    assert "w is an invalid sparse tensor" in refused(tmp_path / "x.pt")


def archive(path: Path, names: list[str], compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name in names:
            file.writestr(name, b"x" * 100)


def safetensors_header(header: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header


def test_files_that_are_no_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"

    def said(content: bytes) -> str:
        path.write_bytes(content)
        return refused(path)

    assert "is empty" in said(b"")
    assert "is no checkpoint; expected a safetensors file" in said(b"epoch,loss\n1,2\n")
    assert "git lfs pull" in said(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    assert "HTML" in said(b"\n<!doctype html><html></html>")
    assert "gzip" in said(b"\x1f\x8b\x08\x00 and so on")
    assert "HDF5" in said(b"\x89HDF\r\n\x1a\n")
    assert "is a pickle that torch.save did not write" in said(pickle.dumps({"w": 1}))
    archive(path, ["x/data.pkl", "x/constants.pkl"])
    assert "TorchScript" in refused(path)
    archive(path, ["arr_0.npy"])
    assert "zip archive that torch.save did not write" in refused(path)
    archive(path, ["x/data.pkl"], zipfile.ZIP_DEFLATED)
    assert "compressed records" in refused(path)
    archive(path, ["x/data.pkl"])
    assert "damaged or cut short" in refused(path)


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    assert "does not exist; expected a checkpoint file" in refused(tmp_path / "none.pt")
    assert "is a directory" in refused(tmp_path)
    (tmp_path / "best.pt").touch()
    (tmp_path / "last.pt").touch()
    assert "Name one of its files: best.pt, last.pt." in refused(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "no regular file" in refused(tmp_path / "pipe")


@pytest.mark.parametrize(
    "content",
    [
        b"\xff" * 8 + b"{}",
        safetensors_header(b"{}", 1 << 40),
        safetensors_header(b"{}"),
        safetensors_header(b"not json"),
        safetensors_header(b'{"w":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4]}}') + b"0000",
        safetensors_header(b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,400]}}') + b"0000",
        safetensors_header(b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}') + b"00000000",
        safetensors_header(b'{"w":{"dtype":"X1","shape":[1],"data_offsets":[0,4]}}') + b"0000",
        safetensors_header(b'{"w":{"dtype":"F6_E2M3","shape":[16],"data_offsets":[0,12]}}') + b"0" * 12,
    ],
    ids=range(9),
)
def test_bad_safetensors(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(content)
    refused(tmp_path / "x.safetensors")


def sample(form: str) -> bytes:
    state = {"conv.weight": torch.randn(2, 3, 3), "conv.bias": torch.randn(2), "bn.n": torch.tensor(3)}
    if form == "safetensors":
        from safetensors.torch import save

        return save(state)
    buffer = io.BytesIO()
    torch.save({"model": state, "epoch": 3}, buffer, _use_new_zipfile_serialization=form == "zip")
    return buffer.getvalue()


@given(st.data(), st.sampled_from(["zip", "legacy", "safetensors"]))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damage_gives_one_error_or_whole_tensors(data: st.DataObject, form: str) -> None:
    """Bytes cut off or changed give a CheckpointError, or tensors whose values all lie in memory that is theirs."""
    content = bytearray(sample(form))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.pt"
        path.write_bytes(content)
        try:
            found = {name: tensor.clone() for name, tensor in read(path).tensors.items()}
        except CheckpointError:
            return
        for tensor in found.values():
            assert tensor.numel() <= len(content)


# ---- into a model


class Net(nn.Module):
    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.embed = nn.Embedding(5, 4)
        self.out = nn.Linear(4, 5, bias=False)
        self.out.weight = self.embed.weight
        self.head = nn.Linear(4, classes)


def saved(path: Path, state: State) -> Path:
    torch.save(state, path) if path.suffix == ".pt" else save_file(state, path)
    return path


def distinct(state: State) -> State:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize(
    ("rename", "said"),
    [
        (lambda n: n, "names as they are"),
        (lambda n: f"module.{n}", "names as they are"),
        (lambda n: f"backbone.net.{n}", "prefix 'backbone.net.' taken off all names"),
    ],
)
def test_weights_go_into_the_model(tmp_path: Path, suffix: str, rename: Callable[[str], str], said: str) -> None:
    source, model = Net(), Net()
    path = saved(tmp_path / f"x{suffix}", {rename(n): t for n, t in distinct(source.state_dict()).items()})
    assert load_into(model, read(path)) == said
    assert_same(model.state_dict(), source.state_dict())


def test_a_prefix_that_the_model_has_and_the_file_lacks(tmp_path: Path) -> None:
    source, model = nn.Sequential(nn.Linear(2, 2)), nn.Sequential(nn.Sequential(nn.Linear(2, 2)))
    path = saved(tmp_path / "x.pt", source.state_dict())
    assert load_into(model, read(path)) == "prefix '0.' added to all names"
    assert torch.equal(model[0][0].weight, source[0].weight)  # type: ignore[index]


def test_the_prefix_that_reading_took_off_is_put_back(tmp_path: Path) -> None:
    source, model = nn.Module(), nn.Module()
    source.model, model.model = nn.Linear(2, 2), nn.Linear(2, 2)
    found = read(saved(tmp_path / "x.pt", source.state_dict()))
    assert sorted(found.tensors) == ["bias", "weight"]
    assert load_into(model, found) == "prefix 'model.' added to all names"
    assert_same(model.state_dict(), source.state_dict())


def test_tied_names_and_batch_counters_may_be_absent(tmp_path: Path) -> None:
    source, model = Net(), Net()
    state = distinct(source.state_dict())
    del state["out.weight"], state["model.1.num_batches_tracked"]
    load_into(model, read(saved(tmp_path / "x.safetensors", state)))
    assert torch.equal(model.out.weight, source.embed.weight)


def test_a_mismatch_is_listed_and_changes_nothing(tmp_path: Path) -> None:
    state = distinct(Net(classes=9).state_dict())
    for name in ["model.0.weight", "model.1.bias", "model.1.weight"]:
        state[f"old.{name}"] = state.pop(name)
    for i in range(7):
        state[f"extra.{i}"] = torch.ones(1)
    model = Net()
    before = distinct(model.state_dict())
    with pytest.raises(CheckpointError) as caught:
        load_into(model, read(saved(tmp_path / "x.pt", state)))
    text = str(caught.value)
    assert "3 missing: model.0.weight, model.1.weight, model.1.bias;" in text
    assert "10 unexpected: old.model.0.weight" in text
    assert "extra.1, …" in text
    assert "2 of another shape: head.weight (model 2×4, file 9×4), head.bias (model 2, file 9)" in text
    assert_same(model.state_dict(), before)


def test_another_layer_with_the_same_leaves_is_no_prefix(tmp_path: Path) -> None:
    source, model = nn.Module(), nn.Module()
    source.fc1, model.fc2 = nn.Linear(2, 2), nn.Linear(2, 2)
    with pytest.raises(CheckpointError, match=r"2 missing: fc2\.weight, fc2\.bias; 2 unexpected: fc1"):
        load_into(model, read(saved(tmp_path / "x.pt", source.state_dict())))


def test_a_sparse_tensor_does_not_go_into_a_dense_one(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    before = distinct(model.state_dict())
    path = saved(tmp_path / "x.pt", {"weight": torch.eye(2).to_sparse(), "bias": torch.ones(2)})
    with pytest.raises(CheckpointError, match="weight \\(model 2×2, file sparse 2×2\\)"):
        load_into(model, read(path))
    assert_same(model.state_dict(), before)


def test_lazy_modules_take_their_shape_from_the_file(tmp_path: Path) -> None:
    source, model = nn.Linear(3, 2), nn.LazyLinear(2)
    load_into(model, read(saved(tmp_path / "x.pt", source.state_dict())))
    assert_same(model.state_dict(), source.state_dict())


# ---- several files


def sharded(folder: Path, form: str, n: int, state: State) -> Path:
    """Write shards and their index as a model hub has them; return the index."""
    suffix, stem = (".safetensors", "model") if form == "safetensors" else (".bin", "pytorch_model")
    files = [f"{stem}-{i:05d}-of-{n:05d}{suffix}" for i in range(1, n + 1)]
    where = {name: files[i % n] for i, name in enumerate(state)}
    for file in files:
        part = {name: tensor for name, tensor in state.items() if where[name] == file}
        save_file(part, folder / file) if form == "safetensors" else torch.save(part, folder / file)
    index = folder / f"{stem}{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return index


many_states = st.dictionaries(names, tensors(), min_size=3, max_size=6)


@given(
    many_states,
    st.sampled_from(["safetensors", "zip"]),
    st.integers(2, 3),
    st.sampled_from([0, 1, 2]),
    st.sampled_from(["", "model."]),
)
@settings(max_examples=40, deadline=None)
def test_shards_come_back_as_one(state: State, form: str, n: int, by: int, prefix: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        index = sharded(folder, form, n, {prefix + key: tensor for key, tensor in state.items()})
        found = read((index, folder, next(folder.glob("*-00002-of-*")))[by])
        assert found.layout.startswith(f"{n} shards")
        assert_same(found.tensors, state)


def test_a_folder_is_read_as_model_hubs_write_it(tmp_path: Path) -> None:
    state, other = {"w": torch.ones(2)}, {"w": torch.zeros(2)}
    torch.save(other, tmp_path / "pytorch_model.bin")
    assert_same(read(tmp_path).tensors, other)
    save_file(state, tmp_path / "model.safetensors")
    assert_same(read(tmp_path).tensors, state)


def test_names_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    save_file({f"h.{i}.w": torch.ones(1) for i in range(12)} | {"h.1٢": torch.ones(1)}, tmp_path / "x.safetensors")
    assert [n for n in read(tmp_path / "x.safetensors").tensors if n.endswith("w")] == [f"h.{i}.w" for i in range(12)]


def test_broken_sets_of_shards_are_told(tmp_path: Path) -> None:
    state = {f"w{i}": torch.ones(2) for i in range(6)}
    index = sharded(tmp_path, "safetensors", 3, state)
    table = json.loads(index.read_text())

    def said(content: str) -> str:
        index.write_text(content)
        with pytest.raises(CheckpointError) as caught:
            dict(read(index).tensors)
        return str(caught.value)

    assert "damaged" in said("{")
    assert "no weight_map" in said("{}")
    assert "no weight_map" in said('{"weight_map": {"w0": 3}}')
    for outside in ("../x.safetensors", "/etc/passwd", "a/b", "..", "a\\b", "x\x00"):
        assert "points outside its folder" in said(json.dumps({"weight_map": {"w0": outside}}))
    assert "holds new, but it does not" in said(
        json.dumps({"weight_map": table["weight_map"] | {"new": "model-00001-of-00003.safetensors"}})
    )
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    assert "lists 3 shards, of which 1 are missing: model-00002-of-00003.safetensors" in said(json.dumps(table))
    index.unlink()
    with pytest.raises(CheckpointError, match="lacks 1 of 3 shards: model-00002"):
        read(tmp_path)


def test_overlapping_tensors_are_refused(tmp_path: Path) -> None:
    header = (
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}'
    )
    (tmp_path / "x.safetensors").write_bytes(safetensors_header(header) + b"0" * 12)
    refused(tmp_path / "x.safetensors")


# ---- what the caller vouches for


def test_classes_that_are_vouched_for_are_loaded(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"state_dict": {"w": torch.ones(1)}, "args": argparse.Namespace(lr=1)}, path)
    assert "--allow-global argparse.Namespace" in refused(path)
    assert_same(read(path, ["argparse.Namespace"]).tensors, {"w": torch.ones(1)})
    assert "--allow-global" in refused(path)  # nothing is left allowed


def test_what_does_things_to_the_machine_is_never_allowed(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "was_run"),)

    torch.save({"w": torch.ones(1), "x": Bomb()}, tmp_path / "x.pt")
    assert "--allow-global" not in refused(tmp_path / "x.pt")
    for name in ("posix.mkdir", "builtins.eval", "nothing", "no.such.thing", "argparse.Nothing", "a b.c"):
        with pytest.raises(OptionError, match="cannot be"):
            read(tmp_path / "x.pt", [name])
    assert not (tmp_path / "was_run").exists()


# ---- beside the weights


def test_optimizers_beside_the_weights_are_found(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    state = optimizer.state_dict()
    for content in (
        {"model": model.state_dict(), "optimizer": state},
        {"state_dict": model.state_dict(), "optimizer_states": [state], "lr_schedulers": []},
    ):
        torch.save(content, tmp_path / "x.pt")
        (found,) = read(tmp_path / "x.pt").optimizers
        assert torch.equal(found["state"][0]["exp_avg"], state["state"][0]["exp_avg"])
    state["state"][0]["exp_avg"] = torch.zeros(1).expand(10**12)
    torch.save({"model": model.state_dict(), "optimizer": state}, tmp_path / "x.pt")
    assert "optimizer 0.state.0.exp_avg claims 4000000000000 bytes" in refused(tmp_path / "x.pt")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory of a map is given back on Linux alone")
@pytest.mark.parametrize("form", ["zip", "safetensors"])
def test_memory_of_the_file_is_given_back(tmp_path: Path, form: str) -> None:
    """Pages leave the process and come back with the same values; memory that is no map of the file is not touched."""
    path = tmp_path / "x.pt"
    state = {"a": torch.randn(1 << 20), "b": torch.randn(1 << 20)}
    save_zip(state, path) if form == "zip" else save_file(state, path)
    found = read(path)
    a, other = found.tensors["a"], torch.ones(1 << 16)
    assert torch.equal(a, state["a"])
    before = resident_of(path)
    found.pages.release(a)
    assert before - resident_of(path) > 3_900
    assert torch.equal(a, state["a"])
    found.pages.release(other)
    assert other.sum() == 1 << 16


def resident_of(path: Path) -> int:
    """Return the kilobytes of a mapped file that lie in memory."""
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = line.split()
        if "-" in head[0] and not head[0].endswith(":"):
            inside = line.endswith(str(path.resolve()))
        elif inside and head[0] == "Rss:":
            total += int(head[1])
    return total
