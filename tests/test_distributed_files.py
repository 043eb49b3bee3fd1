"""Distributed checkpoints give the tensors that were sharded; models in shards give the figures of the whole model."""

from __future__ import annotations

import copy
import io
import os
import pickle
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributed.checkpoint.metadata import _MEM_FORMAT_ENCODING, Metadata

import reportgen
from reportgen.errors import CheckpointError
from reportgen.subject.checkpoint import load_into, read
from reportgen.subject.distributed_files import _StandIn, _table

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")


def model() -> nn.Module:
    torch.manual_seed(0)
    # 65 rows do not go evenly into two shards
    return nn.Sequential(
        nn.Linear(40, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 65), nn.ReLU(), nn.Linear(65, 4)
    )


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(8, 40, generator=generator), torch.arange(8) % 4) for _ in range(3)]


def save(folder: Path) -> dict[str, torch.Tensor]:
    """Save a trained model and its optimizer from one process."""
    made = model()
    optimizer = torch.optim.AdamW(made.parameters(), lr=3e-4)
    made(batches()[0][0]).sum().backward()
    optimizer.step()
    state = made.state_dict()
    names = [name for name, _ in made.named_parameters()]
    held = optimizer.state_dict()
    held["state"] = {names[i]: one for i, one in held["state"].items()}
    held["param_groups"][0]["params"] = names
    dcp.save({"model": state, "optim": held, "step": 7}, checkpoint_id=folder, no_dist=True)
    return state


# ---- sharded over processes


def _work(rank: int, world: int, folder: Path) -> None:
    """Examine a sharded model, then save it; the first process leaves what the whole model gives beside it."""
    from torch.distributed.checkpoint.state_dict import get_state_dict
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=world)
    sharded, mesh = model(), init_device_mesh("cpu", (world,))
    fully_shard(sharded[0], mesh=mesh)  # type: ignore[index]
    fully_shard(sharded, mesh=mesh)
    options = reportgen.Options(spectra="exact", trial_budget=0)
    report = reportgen.examine(sharded, batches(), loss=nn.CrossEntropyLoss(), options=options)
    reportgen.write(report, folder / f"{rank}.json")
    optimizer = torch.optim.AdamW(sharded.parameters())
    sharded(batches()[0][0]).sum().backward()  # it trains on after it was examined
    optimizer.step()
    state, held = get_state_dict(sharded, optimizer)
    full = {name: t.full_tensor() if hasattr(t, "full_tensor") else t for name, t in state.items()}
    dcp.save({"app": {"model": state, "optim": held}}, checkpoint_id=folder / "saved")
    if rank == 0:
        torch.save(full, folder / "full.pt")
    dist.barrier()
    os._exit(0)  # threads of gloo that are still there would end the interpreter with an abort now and then


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2])
def test_shards_give_what_the_whole_gives(tmp_path: Path, world: int) -> None:
    code = "import sys; from pathlib import Path; from tests.test_distributed_files import _work\n"
    code += "_work(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))"
    command = [sys.executable, "-W", "ignore", "-c", code]
    started = [
        subprocess.Popen(
            [*command, str(rank), str(world), str(tmp_path)],
            cwd=Path(__file__).parent.parent,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    ends = [(process.communicate(timeout=300)[1], process.returncode) for process in started]
    assert [code for _, code in ends] == [0] * world, ends
    options = reportgen.Options(spectra="exact", trial_budget=0)
    wanted = reportgen.examine(model(), batches(), loss=nn.CrossEntropyLoss(), options=options)
    for rank in range(world):
        found = reportgen.read(tmp_path / f"{rank}.json")
        assert not [row for row in found.coverage if row.failed]
        assert found.weights == wanted.weights
        assert found.architecture is not None
        assert wanted.architecture is not None
        assert found.architecture.parameters == wanted.architecture.parameters
        assert found.architecture.parameter_bytes == wanted.architecture.parameter_bytes
        assert found.activations is not None
        assert wanted.activations is not None
        assert [r.stats for r in found.activations.rows] == [r.stats for r in wanted.activations.rows]
        assert found.gradients is not None
        assert wanted.gradients is not None
        norms = [r.stats.norm for r in found.gradients.rows if r.stats]
        assert norms == pytest.approx([r.stats.norm for r in wanted.gradients.rows if r.stats], rel=1e-4)

    full, saved = torch.load(tmp_path / "full.pt", weights_only=True), read(tmp_path / "saved")
    assert set(saved.tensors) == set(full)
    assert all(torch.equal(saved.tensors[name], full[name]) for name in full)
    torch.save(full, tmp_path / "full.pt")
    folder, file = (reportgen.examine(tmp_path / name).weights for name in ("saved", "full.pt"))
    assert folder is not None
    assert file is not None
    assert {row.name: row for row in folder.rows} == {row.name: row for row in file.rows}
    assert {row.name: row for row in folder.buffers} == {row.name: row for row in file.buffers}
    (state,) = folder.optimizers
    assert (state.kind, state.step, len(state.rows)) == ("Adam", 1.0, 8)


# ---- one process


def test_tensors_come_back_one_by_one(tmp_path: Path) -> None:
    state = save(tmp_path)
    found = read(tmp_path)
    assert found.layout.startswith("distributed checkpoint in 1 files, 'model'")
    assert found.extra == {"step": 7}
    assert set(found.tensors) == set(state)
    assert all(torch.equal(found.tensors[name], state[name]) for name in state)
    assert all(t.is_meta and t.shape == state[name].shape for name, t in found.outlines.items())
    (optimizer,) = found.optimizers
    assert optimizer["param_groups"][0]["lr"] == 3e-4
    fresh = model()
    load_into(fresh, read(tmp_path / ".metadata"))
    assert all(torch.equal(a, state[name]) for name, a in fresh.state_dict().items())


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path) -> None:
    save(tmp_path)
    (piece,) = tmp_path.glob("*.distcp")
    content = bytearray(piece.read_bytes())
    content[:] = bytes(len(content))
    piece.write_bytes(content)
    found = read(tmp_path)
    assert {name: tuple(t.shape) for name, t in found.outlines.items()}["3.weight"] == (65, 64)
    with pytest.raises(CheckpointError, match="distcp"):
        found.tensors["3.weight"]


def test_flat_names_without_a_way_are_enough(tmp_path: Path) -> None:
    dcp.save(model().state_dict(), checkpoint_id=tmp_path, no_dist=True)
    rewritten(tmp_path, lambda table: setattr(table, "planner_data", None))
    assert set(read(tmp_path).tensors) == set(model().state_dict())


# ---- hostile ones


def rewritten(folder: Path, change: Callable[[Metadata], object]) -> None:
    table = pickle.loads((folder / ".metadata").read_bytes())
    change(table)
    (folder / ".metadata").write_bytes(pickle.dumps(table))


class Runs:
    """A pickled object that would run a command."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch hacked",)


def refused(folder: Path, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        dict(read(folder).tensors)


def test_a_table_that_asks_for_anything_else_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "saved"
    save(folder)
    rewritten(folder, lambda table: setattr(table, "planner_data", Runs()))
    refused(folder, r"pickled classes \(posix.system\)")
    (folder / ".metadata").write_bytes(pickle.dumps(copy.deepcopy))
    refused(folder, r"copy.deepcopy")
    (folder / ".metadata").write_bytes(b"ctorch\nload\n(Vx\ntR.")
    refused(folder, r"torch.load")
    (folder / ".metadata").write_bytes(pickle.dumps([1, 2]))
    refused(folder, "no table of contents")
    # an index into the memo that would take 64 GB where memory is taken for it
    (folder / ".metadata").write_bytes(b"\x80\x04Nr" + struct.pack("<I", 2**32 - 1) + b".")
    refused(folder, "no table of contents")
    assert not (tmp_path / "hacked").exists()


class ByName:
    """Pickles as an attribute of another class, as members of an enumeration do under Python 3.11.0 to 3.11.3."""

    def __init__(self, owner: object, name: str) -> None:
        self.parts = owner, name

    def __reduce__(self) -> tuple[Any, ...]:
        return getattr, self.parts


def test_members_of_enumerations_are_read_however_python_wrote_them(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    save(folder)
    member = ByName(_MEM_FORMAT_ENCODING, "TORCH_CONTIGUOUS_FORMAT")
    rewritten(folder, lambda table: setattr(table, "planner_data", member))
    found = _table(folder / ".metadata").state["planner_data"]
    assert isinstance(found, _StandIn)
    assert found.name == "_MEM_FORMAT_ENCODING"
    for owner in (torch.float32, "text", Path):
        (folder / ".metadata").write_bytes(pickle.dumps(ByName(owner, "__class__")))
        refused(folder, r"builtins.getattr")


def test_a_piece_with_classes_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "saved"
    dcp.save({"w.weight": torch.zeros(4, 4)}, checkpoint_id=folder, no_dist=True)
    stream = io.BytesIO()
    torch.save([Runs(), torch.zeros(4, 4)], stream)
    (piece,) = folder.glob("*.distcp")
    piece.write_bytes(stream.getvalue())

    def longer(table: Metadata) -> None:
        assert table.storage_data is not None
        for info in table.storage_data.values():
            info.offset, info.length = 0, len(stream.getvalue())

    rewritten(folder, longer)
    refused(folder, "posix.system|distcp")
    assert not (tmp_path / "hacked").exists()


def shape_of(table: Metadata, size: tuple[int, ...], sizes: tuple[int, ...] | None = None) -> None:
    entry: Any = table.state_dict_metadata["w.weight"]
    entry.size = torch.Size(size)
    entry.chunks[0].sizes = torch.Size(sizes or size)


def place(table: Metadata, **fields: Any) -> None:
    assert table.storage_data is not None
    (info,) = table.storage_data.values()
    for name, value in fields.items():
        setattr(info, name, value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: shape_of(t, (10**6, 10**6)), "claims more values"),
        (lambda t: shape_of(t, (10**6, 10**6), (4, 4)), "do not make up its shape"),
        (lambda t: shape_of(t, (-1, 4)), "no shape"),
        (lambda t: shape_of(t, (2, 8)), "expected torch.float32"),
        (lambda t: t.state_dict_metadata["w.weight"].chunks.clear(), "do not make up"),
        (
            lambda t: t.state_dict_metadata["w.weight"].chunks.append(t.state_dict_metadata["w.weight"].chunks[0]),
            "make",
        ),
        (lambda t: place(t, relative_path="../../etc/passwd"), "outside the folder"),
        (lambda t: place(t, relative_path="/etc/passwd"), "outside the folder"),
        (lambda t: place(t, relative_path="absent.distcp"), "lacks absent.distcp"),
        (lambda t: place(t, offset=10**9), "beyond the end"),
        (lambda t: place(t, offset=-5), "beyond the end"),
        (lambda t: place(t, length=100), "claims|damaged"),
        (lambda t: place(t, transform_descriptors=["zstd"]), "zstd"),
        (lambda t: t.state_dict_metadata.clear(), "holds no tensors"),
    ],
)
def test_what_a_table_claims_is_checked_against_the_files(
    tmp_path: Path, change: Callable[[Metadata], object], words: str
) -> None:
    dcp.save({"w.weight": torch.zeros(4, 4)}, checkpoint_id=tmp_path, no_dist=True)
    rewritten(tmp_path, change)
    refused(tmp_path, words)


def test_a_folder_that_is_not_whole_is_told(tmp_path: Path) -> None:
    save(tmp_path)
    table = tmp_path / ".metadata"
    content = table.read_bytes()
    table.unlink()
    refused(tmp_path, "no .metadata")
    table.write_bytes(content[: len(content) // 2])
    refused(tmp_path, "damaged or cut short")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damage_gives_one_error_or_whole_tensors(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / ".metadata").write_bytes(SAVED[0])
        (folder / "__0_0.distcp").write_bytes(SAVED[1])
        target = folder / data.draw(st.sampled_from([".metadata", "__0_0.distcp"]))
        content = bytearray(target.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        target.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content) // 2]))])
        try:
            found = read(folder)
            tensors = dict(found.tensors)
        except CheckpointError:
            return
        assert all(t.shape == found.outlines[key].shape for key, t in tensors.items())


def _saved() -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory() as name:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcp.save({"model": {"w.weight": torch.arange(12.0).view(3, 4)}, "n": 2}, checkpoint_id=name, no_dist=True)
        return (Path(name) / ".metadata").read_bytes(), (Path(name) / "__0_0.distcp").read_bytes()


SAVED = _saved()
