"""Event files that torch's SummaryWriter and tensorboard's own writer made, read back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.tensorboard import SummaryWriter

from reportgen.document.history import History
from reportgen.errors import HistoryError
from reportgen.training.histories import read_history
from reportgen.training.importers.histograms import MAX_MOMENTS, even
from reportgen.training.importers.points import MAX_POINTS


def points(history: History, name: str, axis: str) -> list[tuple[float, float | None]]:
    series = history.get(name, axis)
    assert series is not None, [(s.name, s.axis) for s in history.series]
    return list(zip(series.x, series.y, strict=True))


def write_scalars(folder: Path, tags: dict[str, list[float]], every: int = 1) -> None:
    with SummaryWriter(folder) as writer:
        for tag, values in tags.items():
            for i, value in enumerate(values):
                writer.add_scalar(tag, value, i * every)


def test_a_run_of_the_summary_writer(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    with SummaryWriter(tmp_path) as writer:
        for i in range(6):
            writer.add_scalar("Loss/train", 1 / 2**i, i * 10)
            writer.add_scalar("Loss/val", float("nan") if i == 3 else 2 / 2**i, i * 10)
            writer.add_histogram("fc.weight", generator.normal(size=1000), i * 10)
            writer.add_histogram("grads/fc.weight", np.zeros(10), i * 10)
        writer.add_text("remark", "slower <b>now</b>", 30)
        writer.add_image("picture", torch.zeros(3, 4, 4), 0)
        writer.add_scalars("acc", {"train": 0.5, "val": 0.25}, 40)
        writer.add_hparams({"lr": 0.5, "optimizer": "sgd"}, {"hparam/acc": 0.75})
    history = read_history(tmp_path)
    assert points(history, "train_loss", "step") == [(i * 10, 1 / 2**i) for i in range(6)]
    assert points(history, "val_loss", "step") == [(i * 10, None if i == 3 else 2 / 2**i) for i in range(6)]
    assert points(history, "train_accuracy", "step") == [(40, 0.5)]
    assert points(history, "val_accuracy", "step") == [(40, 0.25)]
    assert len(history.series) == 4
    assert history.hyperparameters == {"lr": 0.5, "optimizer": "sgd"}
    assert [(e.subject, e.step, e.detail) for e in history.events if e.kind == "text"] == [
        ("remark", 30, "slower <b>now</b>")
    ]
    assert any("image" in e.detail for e in history.events if e.kind == "note")
    assert (history.steps, history.source) == (50, "tensorboard")
    weight, gradient = history.histograms
    assert (weight.name, weight.part, weight.axis, gradient.part) == ("fc.weight", "weight", "step", "gradient")
    assert [m.x for m in weight.moments] == [i * 10 for i in range(6)]
    assert {sum(m.counts) for m in weight.moments} == {1000}
    assert [sum(m.counts) for m in gradient.moments] == [10] * 6


def test_one_event_file_alone(tmp_path: Path) -> None:
    write_scalars(tmp_path, {"loss": [3.0, 2.0]}, every=7)
    (file,) = tmp_path.iterdir()
    assert points(read_history(file), "train_loss", "step") == [(0, 3.0), (7, 2.0)]
    file.rename(tmp_path / "renamed")
    assert points(read_history(tmp_path / "renamed"), "train_loss", "step") == [(0, 3.0), (7, 2.0)]


def test_the_folders_of_keras_are_one_run(tmp_path: Path) -> None:
    for split, scale in (("train", 1.0), ("validation", 2.0)):
        write_scalars(tmp_path / split, {"epoch_loss": [scale / (i + 1) for i in range(5)], "batch_loss": [9.0] * 2})
    history = read_history(tmp_path)
    assert points(history, "train_loss", "epoch") == [(i, pytest.approx(1 / (i + 1))) for i in range(5)]
    assert points(history, "val_loss", "epoch") == [(i, pytest.approx(2 / (i + 1))) for i in range(5)]
    assert points(history, "train_loss", "step") == [(0, 9.0), (1, 9.0)]
    assert history.epochs == 5


def test_the_scalar_that_tells_the_epoch(tmp_path: Path) -> None:
    """Lightning and Hugging Face write it beside the others."""
    with SummaryWriter(tmp_path) as writer:
        for step in range(20):
            writer.add_scalar("train_loss", 4.0 - step % 4, step)
            writer.add_scalar("epoch", step // 4, step)
        for epoch in range(5):
            writer.add_scalar("val_loss", 1.0 + epoch, epoch * 4 + 3)
    history = read_history(tmp_path)
    assert points(history, "val_loss", "epoch") == [(e, 1.0 + e) for e in range(5)]
    assert points(history, "train_loss", "epoch") == [(e, 2.5) for e in range(5)]
    assert len(points(history, "train_loss", "step")) == 20
    assert history.epochs == 5


def test_several_runs_are_told_apart(tmp_path: Path) -> None:
    for run in ("a", "b"):
        write_scalars(tmp_path / run, {"loss": [1.0]})
    with pytest.raises(HistoryError, match=r"2 runs: .*a, .*b\. Name one"):
        read_history(tmp_path)
    assert points(read_history(tmp_path / "b"), "train_loss", "step") == [(0, 1.0)]
    write_scalars(tmp_path, {"loss": [1.0]})
    with pytest.raises(HistoryError, match="3 runs"):
        read_history(tmp_path)


def test_a_resumed_run_is_read_over_its_files(tmp_path: Path) -> None:
    write_scalars(tmp_path, {"loss": [10.0, 11, 12, 13, 14, 15]}, every=10)
    with SummaryWriter(tmp_path, filename_suffix=".later") as writer:
        for step in (25, 35):
            writer.add_scalar("loss", step, step)
    history = read_history(tmp_path)
    assert points(history, "train_loss", "step") == [(0, 10), (10, 11), (20, 12), (25, 25), (35, 35)]
    assert [(e.step, e.value) for e in history.events if e.kind == "gap"] == [(25, 50.0)]
    assert history.steps == 35


def test_a_torn_file_costs_its_tail(tmp_path: Path) -> None:
    write_scalars(tmp_path, {"loss": [float(i) for i in range(50)]})
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    history = read_history(tmp_path)
    assert points(history, "train_loss", "step") == [(i, i) for i in range(49)]
    assert any("torn" in e.detail for e in history.events)
    file.write_bytes(whole[:1000] + b"\xff" * 30 + whole[1030:])
    history = read_history(tmp_path)
    assert 0 < len(points(history, "train_loss", "step")) < 49
    assert any("torn" in e.detail for e in history.events)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 400), st.binary(max_size=40))
def test_any_damage_is_read_around_or_refused(
    tmp_path_factory: pytest.TempPathFactory, place: int, junk: bytes
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    write_scalars(folder, {"loss": [1.0, 2.0, 3.0, 4.0]})
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:place] + junk + whole[place + len(junk) :])
    try:
        values = [y for s in read_history(file).series for y in s.y]
    except HistoryError as refusal:
        values, told = [], str(refusal)
        assert "\n" not in told
    # every record carries a checksum, so what is read is what was written
    assert values == [1.0, 2.0, 3.0, 4.0][: len(values)]


def test_nothing_logged_and_nothing_there(tmp_path: Path) -> None:
    SummaryWriter(tmp_path / "empty").close()
    with pytest.raises(HistoryError, match=r"no scalars.*flushed"):
        read_history(tmp_path / "empty")
    (tmp_path / "events.out.tfevents.1.none").touch()
    with pytest.raises(HistoryError, match="empty"):
        read_history(tmp_path / "events.out.tfevents.1.none")


def test_long_runs_are_thinned(tmp_path: Path) -> None:
    with SummaryWriter(tmp_path) as writer:
        for i in range(20_000):
            writer.add_scalar("loss", 1.0, i)
        for i in range(100):
            writer.add_histogram_raw("w.weight", 0, 1, 4, 2, 1, [0.5, 1.0], [1, 3], global_step=i)
    history = read_history(tmp_path)
    series = history.get("train_loss")
    assert series is not None
    assert len(series.y) <= MAX_POINTS
    assert (series.n, history.steps) == (20_000, 19_999)
    assert MAX_MOMENTS // 2 <= len(history.histograms[0].moments) <= MAX_MOMENTS
    assert {(m.low, m.high, sum(m.counts)) for m in history.histograms[0].moments} == {(0.0, 1.0, 4)}


BUCKETS = st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.integers(0, 10_000)), min_size=1, max_size=30)


@settings(max_examples=100, deadline=None)
@given(BUCKETS)
def test_even_bins_keep_the_count_and_the_range(buckets: list[tuple[float, float, int]]) -> None:
    rows = [(left, left + width, n) for left, width, n in buckets]
    bars, held = even(rows), [row for row in rows if row[2]]
    if not held:
        assert bars is None
        return
    assert bars is not None
    low, high, counts = bars
    assert (low, high) == (min(r[0] for r in held), max(r[1] for r in held))
    assert sum(counts) == sum(r[2] for r in held)
    assert min(counts) >= 0


def test_even_bins_put_counts_where_they_were() -> None:
    values = np.random.default_rng(0).normal(size=20_000)
    counts, edges = np.histogram(values, bins=1000)
    bars = even(np.stack([edges[:-1], edges[1:], counts], axis=1), bins=50)
    assert bars is not None
    wanted = np.histogram(values, bins=50)[0]
    assert bars[2] == wanted.tolist()  # fifty bins are the thousand, twenty at a time


def test_without_the_library_one_line_names_the_extra(tmp_path: Path) -> None:
    write_scalars(tmp_path, {"loss": [1.0]})
    code = (
        "import sys\n"
        "sys.modules['tensorboard'] = None\n"
        "from reportgen.training.histories import read_history\n"
        "try:\n    read_history(sys.argv[1])\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("HistoryError")
    assert "pip install 'reportgen[tensorboard]'" in done.stdout
