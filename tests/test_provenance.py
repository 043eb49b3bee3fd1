"""What a report was made from and with: fingerprints that tell inputs apart, the commit, the settings."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen
from reportgen.probe import provenance
from reportgen.subject import hashes
from reportgen.subject.data import Batch


def test_a_file_is_known_by_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "w.bin"
    path.write_bytes(b"abc" * 1000)
    assert hashes.of_file(path) == hashlib.sha256(b"abc" * 1000).hexdigest()[:16]
    assert hashes.of_file(tmp_path / "nowhere") == ""


def test_a_very_large_file_is_known_by_its_size_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashes, "WHOLE", 100)
    monkeypatch.setattr(hashes, "EDGE", 10)
    path = tmp_path / "w.bin"
    seen = set()
    for middle, end in ((b"x", b"a"), (b"x", b"b"), (b"xx", b"a")):
        path.write_bytes(b"head" * 5 + middle * 100 + end * 10)
        seen.add(hashes.of_file(path))
    assert len(seen) == 3
    assert all(s.endswith("(of its size and both ends)") for s in seen)


def test_a_folder_is_known_by_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    first = hashes.of_file(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert hashes.of_file(tmp_path) != first


def test_a_batch_is_known_by_types_shapes_and_values() -> None:
    x = torch.arange(6.0)
    alike = [hashes.of_batch(Batch((x,))), hashes.of_batch(Batch((x.clone().requires_grad_(),)))]
    others = [Batch((x.reshape(2, 3),)), Batch((x.half(),)), Batch((x + 1,)), Batch((x,), target=x)]
    assert alike[0] == alike[1]
    assert len({alike[0], *(hashes.of_batch(b) for b in others)}) == 5
    assert hashes.of_batch(Batch(("no tensor",))) == ""
    assert hashes.of_batch(Batch((torch.zeros(2, dtype=torch.bfloat16)[::2],)))  # no numpy type, and strided


def test_the_report_holds_them(tmp_path: Path) -> None:
    data = DataLoader(TensorDataset(torch.randn(8, 3), torch.arange(8) % 2), batch_size=4)
    meta = reportgen.examine(nn.Linear(3, 2), data, options=reportgen.Options(seed=7, max_batches=1)).meta
    assert set(meta.hashes) == {"first batch"}
    assert meta.options == {"seed": "7", "max_batches": "1"}
    torch.save(nn.Linear(3, 2).state_dict(), tmp_path / "w.pt")
    file = reportgen.examine(tmp_path / "w.pt").meta
    assert file.hashes["checkpoint"] == hashlib.sha256((tmp_path / "w.pt").read_bytes()).hexdigest()[:16]


def test_made_up_inputs_are_no_data() -> None:
    assert reportgen.examine(nn.Linear(3, 2), options=reportgen.Options(input_size=[3])).meta.hashes == {}


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_the_commit_tells_whether_files_were_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance.git_commit() == ""
    git(tmp_path, "init")
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-m", "first")
    (tmp_path / "report.html").write_text("unknown to git")
    clean = provenance.git_commit()
    assert len(clean) == 12
    (tmp_path / "a").write_text("2")
    assert provenance.git_commit() == f"{clean}, with changes"


def test_a_machine_without_git_is_no_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert provenance.git_commit() == ""
