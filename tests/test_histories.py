"""Text files as other tools and people write them, whole and broken; every number against what was written."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reportgen.document.history import History
from reportgen.errors import HistoryError
from reportgen.training.histories import read_history
from reportgen.training.importers.points import MAX_POINTS

KERAS = "epoch,accuracy,learning_rate,loss,val_accuracy,val_loss\n" + "".join(
    f"{i},{0.5 + i / 20},0.001,{1 / (i + 1)},{0.4 + i / 20},{1.2 / (i + 1)}\n" for i in range(6)
)


def written(folder: Path, content: str | bytes, name: str = "run") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def points(history: History, name: str, axis: str | None = None) -> list[tuple[float, float | None]]:
    series = history.get(name, axis)
    assert series is not None, [(s.name, s.axis) for s in history.series]
    return list(zip(series.x, series.y, strict=True))


def notes(history: History) -> str:
    return "; ".join(e.detail for e in history.events if e.kind == "note")


# ---- the formats, whole


def test_keras_csv(tmp_path: Path) -> None:
    history = read_history(written(tmp_path, KERAS))
    assert {(s.name, s.axis) for s in history.series} == {
        (name, "epoch") for name in ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "learning_rate")
    }
    assert points(history, "val_loss") == [(i, 1.2 / (i + 1)) for i in range(6)]
    assert (history.epochs, history.steps, history.source) == (6, 0, "csv")
    assert history.events == []


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_separators_and_encodings(tmp_path: Path, separator: str, encoding: str) -> None:
    path = written(tmp_path, KERAS.replace(",", separator).encode(encoding))
    assert points(read_history(path), "train_loss") == [(i, 1 / (i + 1)) for i in range(6)]


def test_a_comma_for_the_point_where_semicolons_separate(tmp_path: Path) -> None:
    path = written(tmp_path, "epoch;loss;val_loss\n1;0,5;0,75\n2;0,25;1,5e-1\n")
    assert points(read_history(path), "val_loss") == [(1, 0.75), (2, 0.15)]


def test_lightning_csv_is_sparse_and_has_two_axes(tmp_path: Path) -> None:
    rows = ["epoch,lr-Adam,step,train_loss_epoch,train_loss_step,val_acc"]
    for epoch in range(6):
        rows += [f"{epoch},,{epoch * 10 + 4},,{1 / (epoch + 1)},", f"{epoch},,{epoch * 10 + 9},,{0.9 / (epoch + 1)},"]
        rows += [f"{epoch},,{epoch * 10 + 9},,,{epoch / 10}", f"{epoch},,{epoch * 10 + 9},{0.95 / (epoch + 1)},,"]
    (tmp_path / "hparams.yaml").write_text("width: 4\nname: !!python/object:os.system {}\n")
    history = read_history(written(tmp_path, "\n".join(rows), "metrics.csv"))
    assert points(history, "val_accuracy") == [(e, e / 10) for e in range(6)]
    assert points(history, "train_loss", "epoch") == [(e, 0.95 / (e + 1)) for e in range(6)]
    assert points(history, "train_loss", "step")[:3] == [(4, 1.0), (9, 0.9), (14, 0.5)]
    assert (history.epochs, history.steps, history.source) == (6, 59, "lightning csv")
    assert history.hyperparameters == {}  # a file that asks for code is not read at all
    (tmp_path / "hparams.yaml").write_text("width: 4\nactivation: relu\nlayers: [1, 2]\n")
    assert read_history(tmp_path).hyperparameters == {"width": 4, "activation": "relu"}


def test_trainer_state(tmp_path: Path) -> None:
    log: list[dict[str, Any]] = []
    for epoch in range(1, 6):
        log += [
            {"loss": 2 / (epoch * k), "grad_norm": 0.5, "epoch": epoch - 1 + k / 2, "step": epoch * 10 - 10 + k * 5}
            for k in (1, 2)
        ]
        log.append({"eval_loss": 1 / epoch, "eval_runtime": 3.0, "epoch": float(epoch), "step": epoch * 10})
    log.append({"train_runtime": 12.5, "train_loss": 99.0, "total_flos": 1e9, "epoch": 5.0, "step": 50})
    state = {"log_history": log, "global_step": 50, "max_steps": 60, "num_train_epochs": 6, "train_batch_size": 8}
    for place in ("checkpoint-50", "checkpoint-9"):
        (tmp_path / place).mkdir()
    (tmp_path / "checkpoint-9" / "trainer_state.json").write_text('{"log_history": []}')
    (tmp_path / "checkpoint-50" / "trainer_state.json").write_text(json.dumps(state))
    for path in (tmp_path, tmp_path / "checkpoint-50", tmp_path / "checkpoint-50" / "trainer_state.json"):
        history = read_history(path)
        assert points(history, "val_loss", "epoch") == [(e, 1 / e) for e in range(1, 6)]
        assert points(history, "train_loss", "step")[:2] == [(5, 2.0), (10, 1.0)]
        # by epoch: the mean of the two that were logged in it, and never the 99 of the summary
        assert points(history, "train_loss", "epoch") == [(e, pytest.approx(1.5 / e)) for e in range(1, 6)]
        assert "train_loss: the mean" in notes(history)
        assert "step 50 of 60" in notes(history)
        assert (history.epochs, history.steps, history.batch_size, history.seconds) == (5, 50, 8, 12.5)
        assert history.hyperparameters["num_train_epochs"] == 6
        assert not [s for s in history.series if "runtime" in s.name or "flos" in s.name]
    with pytest.raises(HistoryError, match="nothing was logged"):
        read_history(tmp_path / "checkpoint-9")


def test_lines_of_json(tmp_path: Path) -> None:
    rows = [
        {"epoch": e, "step": e * 4, "train": {"loss": 1 / e}, "val": {"acc": e / 10}, "tag": "a"} for e in range(1, 7)
    ]
    rows[2]["val"] = {"acc": math.nan}
    history = read_history(written(tmp_path, "\n".join(json.dumps(row) for row in rows)))
    assert points(history, "train_loss", "epoch") == [(e, 1 / e) for e in range(1, 7)]
    series = history.get("val_accuracy")
    assert series is not None
    assert (series.y[2], series.nonfinite, series.first_nonfinite) == (None, 1, 3.0)
    assert (history.steps, history.epochs, history.source) == (24, 6, "jsonl")
    assert {e.detail for e in history.events if e.kind == "text"} == {"a"}


def test_steps_that_begin_anew_in_each_epoch_are_counted_on(tmp_path: Path) -> None:
    rows = [{"epoch": e, "step": i, "loss": e + i / 10} for e in range(3) for i in range(5)]
    history = read_history(written(tmp_path, "\n".join(map(json.dumps, rows))))
    assert points(history, "train_loss", "step") == [(n, n // 5 + n % 5 / 10) for n in range(15)]
    assert not [e for e in history.events if e.kind == "gap"]


def test_lists_by_name_in_a_dict_and_in_a_file(tmp_path: Path) -> None:
    lists = {"loss": [1.0, 0.5, 0.25], "val_loss": [1.1, math.inf, 0.3]}
    for source in (lists, written(tmp_path, json.dumps(lists)), written(tmp_path, json.dumps(lists, indent=1), "b")):
        history = read_history(source)
        assert points(history, "train_loss") == [(1, 1.0), (2, 0.5), (3, 0.25)]
        assert points(history, "val_loss") == [(1, 1.1), (2, None), (3, 0.3)]
        assert (history.epochs, history.source) == (3, "columns")


def test_values_of_a_dict_may_be_arrays_and_tensors() -> None:
    history = read_history({"loss": np.array([1.0, 0.5]), "acc": torch.tensor([0.5, 0.75]), "f1": (np.float32(0.5), 1)})
    assert points(history, "train_accuracy") == [(1, 0.5), (2, 0.75)]
    assert points(history, "train_f1") == [(1, 0.5), (2, 1.0)]


def test_longer_lists_than_those_of_the_validation_are_by_step() -> None:
    history = read_history({"train_loss": [1 / (i + 1) for i in range(50)], "val_loss": [1.0, 0.5]})
    assert [(s.name, s.axis, s.n) for s in history.series] == [("train_loss", "step", 50), ("val_loss", "epoch", 2)]
    assert (history.epochs, history.steps) == (2, 50)


def test_a_list_of_objects(tmp_path: Path) -> None:
    path = written(tmp_path, json.dumps([{"epoch": e, "loss": 1 / e} for e in range(1, 6)], indent=2))
    assert points(read_history(path), "train_loss") == [(e, 1 / e) for e in range(1, 6)]


def test_a_history_is_itself() -> None:
    history = History()
    assert read_history(history) is history


def test_steps_are_epochs_where_each_was_validated(tmp_path: Path) -> None:
    rows = [{"step": i, "train_loss": 1 / (i + 1), "val_loss": 2 / (i + 1)} for i in range(8)]
    assert read_history(written(tmp_path, "\n".join(map(json.dumps, rows)))).epochs == 8
    rows = [{"step": 10 * i, "train_loss": 1 / (i + 1), "val_loss": 2 / (i + 1)} for i in range(8)]
    assert [s.axis for s in read_history(written(tmp_path, "\n".join(map(json.dumps, rows)))).series] == ["step"] * 2


def test_names_that_the_user_gives(tmp_path: Path) -> None:
    path = written(tmp_path, "epoch,my_metric,loss\n1,0.5,1\n2,0.6,0.9\n")
    assert points(read_history(path, names={"my_metric": "val_accuracy"}), "val_accuracy") == [(1, 0.5), (2, 0.6)]
    with pytest.raises(HistoryError, match=r"no 'my_metrik'.*my_metric"):
        read_history(path, names={"my_metrik": "val_accuracy"})


# ---- broken ones


def test_a_torn_last_line_costs_only_itself(tmp_path: Path) -> None:
    whole = "".join(json.dumps({"epoch": e, "loss": 1 / e}) + "\n" for e in range(1, 7))
    history = read_history(written(tmp_path, whole[:-9]))
    assert points(history, "train_loss") == [(e, 1 / e) for e in range(1, 6)]
    assert "last line" in notes(history)
    history = read_history(written(tmp_path, KERAS[:-30]))
    assert len(points(history, "train_loss")) == 5
    assert "last line" in notes(history)


def test_a_resumed_run_keeps_the_later_values_and_marks_the_gap(tmp_path: Path) -> None:
    before = [{"step": s, "loss": 100 + s} for s in range(0, 101, 10)]
    after = [{"step": s, "loss": s} for s in range(55, 91, 5)]
    history = read_history(written(tmp_path, "\n".join(json.dumps(row) for row in before + after)))
    assert points(history, "train_loss") == [(s, 100 + s) for s in range(0, 51, 10)] + [
        (s, s) for s in range(55, 91, 5)
    ]
    assert [(e.kind, e.step, e.value) for e in history.events] == [("gap", 55, 100.0)]
    assert history.steps == 90
    series = history.get("train_loss")
    assert series is not None
    assert series.n == 14


def test_epochs_that_were_run_again(tmp_path: Path) -> None:
    rows = (
        ["epoch,loss,val_loss"] + [f"{e},{e},{e}" for e in (1, 2, 3, 4, 5)] + [f"{e},{e * 10},{e}" for e in (4, 5, 6)]
    )
    history = read_history(written(tmp_path, "\n".join(rows)))
    assert points(history, "train_loss") == [(1, 1), (2, 2), (3, 3), (4, 40), (5, 50), (6, 60)]
    assert [(e.kind, e.epoch) for e in history.events] == [("gap", 4.0)]
    assert history.epochs == 6


def test_a_header_that_comes_again_is_no_row(tmp_path: Path) -> None:
    history = read_history(written(tmp_path, KERAS + KERAS))
    assert len(points(history, "train_loss")) == 6
    assert [e.kind for e in history.events] == ["gap"]


def test_a_log_out_of_order_is_sorted(tmp_path: Path) -> None:
    order = np.random.default_rng(0).permutation(200)
    history = read_history(
        written(tmp_path, "\n".join(json.dumps({"step": int(i), "loss": int(i) / 2}) for i in order))
    )
    assert points(history, "train_loss") == [(i, i / 2) for i in range(200)]
    assert "sorted" in notes(history)


def test_several_values_an_epoch_are_by_step(tmp_path: Path) -> None:
    history = read_history(
        written(tmp_path, "epoch,loss\n" + "".join(f"{e},{i}\n" for e in range(3) for i in range(4)))
    )
    assert [(s.name, s.axis, s.n) for s in history.series] == [("train_loss", "step", 12)]


@pytest.mark.parametrize("cell", ["nan", "NaN", "inf", "-Infinity", "tensor(nan)", "tensor(inf, device='cuda:0')"])
def test_not_finite_in_a_cell(tmp_path: Path, cell: str) -> None:
    history = read_history(written(tmp_path, f"epoch;loss\n1;0.5\n2;{cell}\n3;0.25\n"))
    series = history.get("train_loss")
    assert series is not None
    assert (series.y, series.nonfinite, series.first_nonfinite) == ([0.5, None, 0.25], 1, 2.0)


@pytest.mark.parametrize("cell", ["", "None", "null", "N/A"])
def test_an_empty_cell_is_no_value(tmp_path: Path, cell: str) -> None:
    series = read_history(written(tmp_path, f"epoch,loss,lr\n1,0.5,1\n2,{cell},1\n3,0.25,1\n")).get("train_loss")
    assert series is not None
    assert (series.x, series.y, series.nonfinite) == ([1, 3], [0.5, 0.25], 0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf\n \n", "is empty"),
        (b"\x00" * 500, "is empty"),
        (b"epoch,loss\n", "no row below its header"),
        (b"epoch,note\n1,good\n", "no column of numbers"),
        (b"1,2,3\n4,5,6\n", "begins with numbers"),
        (b"Epoch 1: loss 0.5\nEpoch 2: loss 0.4\n", "one column"),
        (b"epoch loss\n1 2\n", "one column"),
        (b"{}", "no line with a number"),
        (b'{"loss": [], "a": 1}', "no list of numbers"),
        (b'{"a": {"b": 1}, \n', "no line with a number"),
        (b"[1, 2", "breaks off"),
        (b"[1, 2]", "no object"),
        (b"PK\x03\x04rest", "checkpoint"),
        (b"\x80\x02}q\x00.", "pickle"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "no text"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b'{"log_history": []}', "nothing was logged"),
        (b'{"\\ud800": "\\ud800"}', "no line with a number"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(HistoryError, match=words) as caught:
        read_history(written(tmp_path, content))
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    assert "run" in str(caught.value)


def test_places_and_names_beyond_all_sense_do_no_harm(tmp_path: Path) -> None:
    line = '{"step": 1e300, "epoch": -1e400, "loss": 1, "\\ud800": 2, "max": ' + "9" * 400 + ', "t": "\\udfff"}\n'
    text = line * 2
    history = read_history(written(tmp_path, text))
    assert points(history, "train_loss") == [(1, 1.0), (2, 1.0)]
    assert msgspec.json.decode(msgspec.json.encode(history), type=History) == history


def test_a_trainer_state_with_numbers_beyond_all_floats(tmp_path: Path) -> None:
    vast = 10**400
    state = {"log_history": [{"loss": 0.5, "step": 1}, {"train_runtime": vast}], "max_steps": vast}
    history = read_history(written(tmp_path, json.dumps(state)))
    assert points(history, "train_loss") == [(1, 0.5)]
    assert history.seconds is None
    assert "max_steps" not in history.hyperparameters


def test_a_cell_beyond_the_limit_of_the_csv_module_costs_its_line(tmp_path: Path) -> None:
    cell = "x" * (csv.field_size_limit() + 1)
    history = read_history(written(tmp_path, f"epoch,train_loss\n1,0.5\n2,{cell}\n3,0.25\n"))
    assert points(history, "train_loss") == [(1, 0.5), (3, 0.25)]
    with pytest.raises(HistoryError, match="no line that could name columns"):
        read_history(written(tmp_path, f"epoch,{cell}\n1,0.5\n"))


def test_values_of_a_dict_are_taken_by_their_place() -> None:
    class Column:
        """Answers to labels and not to places, as a column of a filtered table does."""

        def __init__(self, values: list[float]) -> None:
            self.values = values

        def __len__(self) -> int:
            return len(self.values)

        def __iter__(self) -> Any:
            return iter(self.values)

        def __getitem__(self, key: Any) -> float:
            raise KeyError(key)

    history = read_history({"step": [5, 10], "train_loss": Column([2.0, 1.0]), "acc": np.array(0.5)})
    assert points(history, "train_loss") == [(5, 2.0), (10, 1.0)]
    assert [s.name for s in history.series] == ["train_loss"]


def test_what_is_no_history_at_all(tmp_path: Path) -> None:
    for source, words in (
        (tmp_path / "absent", "does not exist"),
        (tmp_path, "holds no history"),
        ({}, "no list"),
        ({"a": 1}, "found: a"),
    ):
        with pytest.raises(HistoryError, match=words):
            read_history(source)
    with pytest.raises(HistoryError, match="int, which is no"):
        read_history(3)  # type: ignore[arg-type]
    for version in ("version_0", "version_1"):
        (tmp_path / "logs" / version).mkdir(parents=True)
        (tmp_path / "logs" / version / "metrics.csv").write_text("epoch,step,loss\n0,1,2\n")
    for folder in (tmp_path, tmp_path / "logs"):
        with pytest.raises(HistoryError, match=r"2 runs: .*version_0.*version_1"):
            read_history(folder)


# ---- long ones


def test_a_long_file_is_thinned_and_its_counts_are_exact(tmp_path: Path) -> None:
    n = 60_000
    path = tmp_path / "long.csv"
    with path.open("w") as file:
        file.write("step,loss,lr\n")
        file.writelines(f"{i},{'nan' if i in (40_001, 40_002) else 1 / (i + 1)},{0.1}\n" for i in range(n))
    history = read_history(path)
    series = history.get("train_loss")
    assert series is not None
    assert len(series.y) <= MAX_POINTS
    assert (series.n, series.nonfinite, series.first_nonfinite) == (n, 2, 40_001)
    assert all(y is None or y == pytest.approx(1 / (x + 1)) for x, y in zip(series.x, series.y, strict=True))
    gaps = np.diff(series.x)
    assert gaps[:-1].max() == gaps[:-1].min()  # evenly
    assert history.steps == n - 1


# ---- any

FLOATS = st.floats(allow_nan=True, allow_infinity=True)
LISTS = st.lists(FLOATS, min_size=1, max_size=30)
QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def same(values: list[float | None], wanted: list[float]) -> None:
    assert [v is None for v in values] == [not math.isfinite(w) for w in wanted]
    assert [v for v in values if v is not None] == [w for w in wanted if math.isfinite(w)]


@QUICK
@given(LISTS)
def test_every_format_gives_back_what_was_written(tmp_path: Path, values: list[float]) -> None:
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerows([("epoch", "val_loss"), *enumerate(values)])
    lines = "\n".join(json.dumps({"epoch": i, "val_loss": v}) for i, v in enumerate(values))
    log = [{"eval_loss": v, "epoch": float(i), "step": i * 7} for i, v in enumerate(values, 1)]
    contents = [table.getvalue(), lines, json.dumps({"val_loss": values}), json.dumps({"log_history": log})]
    for n, content in enumerate(contents):
        series = read_history(written(tmp_path, content)).get("val_loss", "epoch")
        assert series is not None
        same(series.y, values)
        assert series.x == [i + (n >= 2) for i in range(len(values))]
        assert series.n == len(values)
        assert series.nonfinite == sum(not math.isfinite(v) for v in values)


@QUICK
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 9)), min_size=1, max_size=80))
def test_whatever_the_order_places_rise_and_hold_a_value_that_was_logged_there(
    tmp_path: Path, rows: list[tuple[int, int]]
) -> None:
    history = read_history(
        written(tmp_path, "\n".join(json.dumps({"step": step, "temperature": value}) for step, value in rows))
    )
    (series,) = history.series
    assert series.x == sorted(set(series.x))
    assert series.n == len(series.y)
    assert set(points(history, "temperature")) <= set(rows)
    assert (series.x[-1], series.y[-1]) == (rows[-1] if series.x[-1] == rows[-1][0] else (series.x[-1], series.y[-1]))


NASTY = st.one_of(
    st.binary(max_size=400),
    st.text(max_size=200).map(str.encode),
    st.text(alphabet='{}[]",:;.0123456789einfaNlostepch \n\t-', max_size=300).map(str.encode),
    st.lists(
        st.dictionaries(
            st.text(max_size=5) | st.sampled_from(["step", "epoch", "loss"]), st.floats() | st.integers() | st.text()
        ),
        max_size=4,
    ).map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
    st.builds(lambda cut, junk: KERAS.encode()[:cut] + junk, st.integers(0, len(KERAS)), st.binary(max_size=20)),
)


@settings(QUICK, max_examples=300)
@given(NASTY)
def test_any_bytes_are_read_or_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path, error = written(tmp_path, content), None
    try:
        history = read_history(path)
    except HistoryError as refusal:
        history, error = History(), refusal
    assert "\n" not in str(error)
    for series in history.series:
        assert len(series.x) == len(series.y) <= MAX_POINTS
        assert all(math.isfinite(x) for x in series.x)
    assert msgspec.json.decode(msgspec.json.encode(history), type=History) == history
