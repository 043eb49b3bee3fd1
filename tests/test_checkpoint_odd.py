"""Files with types that torch lacks, and with names that share memory."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from torch import Tensor

import reportgen
from reportgen.errors import CheckpointError, OptionError
from reportgen.options import Options
from reportgen.probe import architecture, weights
from reportgen.settings import load
from reportgen.subject.checkpoint import read


def write(path: Path, tensors: dict[str, tuple[str, list[int], bytes]]) -> Path:
    """Write a safetensors file by hand."""
    table, data = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        table[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    head = json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)
    return path


def floats(*shape: int) -> tuple[str, list[int], bytes]:
    return "F32", list(shape), torch.randn(shape).numpy().tobytes()


def test_a_type_that_torch_lacks_hides_nothing_else(tmp_path: Path) -> None:
    strange = ("F6_E2M3", [64, 4], bytes(192))
    path = write(tmp_path / "x.safetensors", {"a.weight": floats(8, 8), "b.weight": strange, "c.weight": floats(4, 4)})
    file = read(path)
    assert list(file.tensors) == ["a.weight", "c.weight"]
    assert file.layout == "safetensors, left out of types that torch does not know: 1 of F6_E2M3"
    report = reportgen.examine(path)
    assert report.weights is not None
    assert [row.name for row in report.weights.rows] == ["a.weight", "c.weight"]
    (part,) = (c for c in report.coverage if c.part == "weights")
    assert "F6_E2M3" in (part.reason or "")


def test_nothing_but_types_that_torch_lacks(tmp_path: Path) -> None:
    path = write(tmp_path / "x.safetensors", {"a.weight": ("F6_E3M2", [64, 4], bytes(192))})
    with pytest.raises(CheckpointError, match="F6_E3M2"):
        read(path)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F8_E8M0", "U64", "U16", "BOOL", "F4"])
def test_types_of_safetensors_that_few_use_are_read(tmp_path: Path, dtype: str) -> None:
    size = {"U64": 8, "U16": 2}.get(dtype, 1)
    values = bytes(i % (2 if dtype == "BOOL" else 120) for i in range(4096 * size // (2 if dtype == "F4" else 1)))
    path = write(tmp_path / "x.safetensors", {"a.weight": (dtype, [64, 64], values), "b.weight": floats(8, 8)})
    report = reportgen.examine(path)
    assert report.weights is not None
    rows = {row.name: row for row in report.weights.rows}
    assert rows["b.weight"].stats is not None
    if dtype.startswith("F8"):
        own = torch.frombuffer(bytearray(values), dtype=torch.uint8).view(
            {
                "F8_E4M3": torch.float8_e4m3fn,
                "F8_E5M2": torch.float8_e5m2,
                "F8_E8M0": torch.float8_e8m0fnu,
            }[dtype]
        )
        stats = rows["a.weight"].stats
        assert stats is not None
        assert (stats.max, stats.nan) == (float(own.double().nan_to_num(0.0).max()), int(own.float().isnan().sum()))


def tied() -> dict[str, Tensor]:
    w = torch.randn(50, 60)
    return {"emb.weight": w, "head.weight": w, "part.weight": w[:10], "own.weight": torch.randn(5, 60)}


def test_names_of_one_tensor_are_tied(tmp_path: Path) -> None:
    torch.save(tied(), tmp_path / "x.pt")
    file = read(tmp_path / "x.pt")
    rows = {row.name: row for row in weights.of_tensors(file.tensors, file.pages.release).facts.rows}
    assert (rows["head.weight"].tied_to, rows["head.weight"].stats) == ("emb.weight", None)
    assert [rows[name].tied_to for name in ("emb.weight", "part.weight", "own.weight")] == [None, None, None]
    facts = architecture.of_tensors(file.outlines)
    assert (facts.parameters, facts.parameter_bytes) == (50 * 60 + 5 * 60, 4 * (50 * 60 + 5 * 60))


def test_a_report_says_what_is_tied(tmp_path: Path) -> None:
    torch.save(tied(), tmp_path / "x.pt")
    reportgen.write(reportgen.examine(tmp_path / "x.pt", options=Options()), tmp_path / "x.html")
    assert "emb.weight" in (tmp_path / "x.html").read_text()


def test_a_setting_with_a_few_values_names_them() -> None:
    with pytest.raises(OptionError, match="off, fast, exact"):
        load(None, {"spectra": "bogus"})
