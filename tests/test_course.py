"""Weights over several checkpoints: movement, cosine and rank against hand formulas; what rests and what jumps."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

import reportgen
from reportgen.document.course import Course, CourseRow
from reportgen.document.facts import Finding, WeightFacts
from reportgen.health.context import context_of
from reportgen.health.rules.matrices import usual_steps, weights_jump
from reportgen.health.thresholds import Thresholds
from reportgen.options import Options
from reportgen.page.sections.course import remark
from reportgen.probe.course import Point, course_of

from . import builders

State = dict[str, Tensor]


def run(n: int = 5) -> list[State]:
    """Return checkpoints of a made-up run: one layer learns, one rests, one jumps before the third."""
    torch.manual_seed(0)
    learns, rests, jumps = torch.randn(40, 60), torch.randn(40, 60), torch.randn(40, 60)
    states = []
    for i in range(n):
        learns = learns + 0.05 * torch.randn(40, 60)
        jumps = jumps + (3 if i == 2 else 0.05) * torch.randn(40, 60)
        states.append({"learns.weight": learns, "rests.weight": rests, "jumps.weight": jumps, "n": torch.tensor(i)})
    return states


def test_figures_are_those_of_hand_formulas() -> None:
    states = run()
    found = course_of([Point(f"e{i}.pt", state) for i, state in enumerate(states)], "exact")
    assert found.checkpoints == ["e0.pt", "e1.pt", "e2.pt", "e3.pt", "e4.pt"]
    assert [row.name for row in found.rows] == ["learns.weight", "rests.weight", "jumps.weight"]
    for row in found.rows:
        a = [state[row.name].double().numpy() for state in states]
        norms = [np.linalg.norm(w) for w in a]
        np.testing.assert_allclose(row.norms, norms, rtol=1e-12)
        moved = [np.linalg.norm(y - x) / np.linalg.norm(x) for x, y in pairwise(a)]
        np.testing.assert_allclose(row.moved, moved, rtol=1e-9)
        cosines = [(x * y).sum() / np.linalg.norm(x) / np.linalg.norm(y) for x, y in pairwise(a)]
        np.testing.assert_allclose(row.cosines, cosines, rtol=1e-12)
        ranks = [np.linalg.norm(w) ** 2 / np.linalg.norm(w, 2) ** 2 for w in a]
        np.testing.assert_allclose(row.stable_ranks, ranks, rtol=1e-4)


def test_what_rests_and_what_jumps_is_told_and_what_learns_is_not() -> None:
    found = course_of([Point(f"e{i}.pt", state) for i, state in enumerate(run())])
    typical = sorted(sum(row.moved) for row in found.rows)[1]
    usual = usual_steps(found.rows)
    told = {row.name: remark(row, usual, found.checkpoints, typical) for row in found.rows}
    assert told == {"learns.weight": "", "rests.weight": "at rest", "jumps.weight": "jumped before e2.pt"}


def test_a_run_that_ends_smoothly_jumps_nowhere() -> None:
    moved = [3.0, 0.2, 0.1, 0.05, 0.01, 0.001]  # much at first, as runs do
    row = CourseRow(name="w", shape=[2], norms=[1.0] * 7, moved=moved, cosines=[1.0] * 6)
    assert remark(row, [1.0] * 6, [f"{i}" for i in range(7)], 0.5) == ""
    whole = CourseRow(name="w", shape=[2], norms=[1.0] * 7, moved=[0.0] * 6, cosines=[1.0] * 6)
    assert remark(whole, [1.0] * 6, [f"{i}" for i in range(7)], 0.0) == ""  # nothing learns: a frozen run


@pytest.mark.parametrize(
    ("moved", "said"),
    [
        ([0.0, 0.0, 0.1, 0.1], "at rest until c"),
        ([0.1, 0.1, 0.0, 0.0], "at rest since c"),
        ([0.1, 0.0, 0.1, 0.1], ""),
        ([0.01, 0.2, 0.01, 0.01], "jumped before c"),
    ],
)
def test_when_a_tensor_moved_is_told(moved: list[float], said: str) -> None:
    row = CourseRow(name="w", shape=[2, 2], norms=[1.0] * 5, moved=moved, cosines=[1.0] * 4)
    assert remark(row, [1.0] * 4, list("abcde"), 0.5) == said


def course(*moved: list[float]) -> list[CourseRow]:
    n = len(moved[0])
    return [
        CourseRow(name=f"w{i}", shape=[4, 4], norms=[1.0] * (n + 1), moved=steps, cosines=[1.0] * n)
        for i, steps in enumerate(moved)
    ]


def jumps(rows: list[CourseRow]) -> list[Finding]:
    names = [f"e{i}.pt" for i in range(len(rows[0].norms))]
    facts = WeightFacts(rows=[], course=Course(checkpoints=names, rows=rows))
    report = replace(builders.smallest(), weights=facts)
    return list(weights_jump(report, context_of(report, Thresholds()), Thresholds()))


def test_a_layer_that_jumps_alone_is_told_and_a_step_that_is_long_for_all_is_not() -> None:
    calm = [0.5, 0.02, 0.02, 0.02, 0.01]
    (finding,) = jumps(course(calm, calm, calm, [0.5, 0.02, 0.9, 0.02, 0.01]))
    assert finding.subject == "w3"
    assert finding.detail == {"after": "e2.pt", "before": "e3.pt"}
    assert finding.evidence == {"ratio": pytest.approx(45), "moved": 0.9, "tensors": 1}
    gap = [0.5, 0.02, 0.9, 0.02, 0.01]  # checkpoints left out, or a warm restart
    assert not jumps(course(gap, gap, gap, gap))
    assert not jumps(course(calm, calm, calm, [0.0, 0.0, 0.9, 0.02, 0.01]))  # set free
    assert not jumps(course(calm, calm, calm, [0.0, 1e-6, 1e-4, 1e-6, 0.0]))  # next to nothing
    assert not jumps(course(calm, gap))  # nothing to hold it against


def test_independent_steps_never_jump() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):  # steps of layers as they scatter: by a factor of two
        rows = course(*(np.exp(rng.normal(-4, 0.35, 8)).tolist() for _ in range(40)))
        assert not jumps(rows)


def test_what_cannot_be_followed_is_counted() -> None:
    a = {"w": torch.ones(3), "x": torch.ones(3), "y": torch.ones(3), "z": torch.zeros(3)}
    b = {"w": torch.ones(4), "y": torch.tensor([1, math.nan, 1]), "z": torch.zeros(3), "new": torch.ones(1)}
    found = course_of([Point("a", a), Point("b", b)])
    assert [row.name for row in found.rows] == ["z"]
    assert found.left_out == 3
    assert (found.rows[0].moved, found.rows[0].cosines) == ([0.0], [1.0])


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_report_follows_the_weights(tmp_path: Path, suffix: str) -> None:
    from safetensors.torch import save_file

    paths = [tmp_path / f"e{i}{suffix}" for i in range(5)]
    for state, path in zip(run(), paths, strict=True):
        torch.save({"model": state}, path) if suffix == ".pt" else save_file(state, path)
    report = reportgen.examine(paths[-1], options=Options(earlier=[str(path) for path in paths[:-1]]))
    assert report.weights is not None
    assert report.weights.course is not None
    assert report.weights.course.checkpoints == [path.name for path in paths]
    reportgen.write(report, tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text()
    assert "at rest" in page
    assert f"jumped before e2{suffix}" in page
    assert "Of 3 matrices 2 moved in the last step, 1 did not; 1 jumped." in page


class Stopping(dict[str, Tensor]):
    """Tensors that the user stops reading after the third."""

    def items(self) -> Any:
        for i, pair in enumerate(super().items()):
            if i == 3:
                raise KeyboardInterrupt
            yield pair


def test_ctrl_c_keeps_the_rows_that_were_read() -> None:
    tensors = {f"{i}.weight": torch.randn(4, 4) for i in range(5)}
    read: list[int] = []
    found = course_of([Point("a", tensors), Point("b", Stopping(tensors))], tick=read.append)
    assert [row.name for row in found.rows] == ["0.weight", "1.weight", "2.weight"]
    assert found.interrupted
    assert read == [2 * 4 * 4 * 4] * 3
