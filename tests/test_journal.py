"""The log of a run on disk: written, killed, gone on with, read."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

import reportgen
from reportgen.document.history import Event, History
from reportgen.training import journal as journals
from reportgen.training.bookkeeping import book
from reportgen.training.journal import Journal, is_journal, read_journal
from reportgen.training.ledger import Ledger
from reportgen.training.observations import (
    JOURNAL_VERSION,
    Counters,
    End,
    Gradients,
    Happening,
    Movement,
    Observation,
    ParameterEntry,
    Parameters,
    Row,
    Rows,
    Session,
    Tally,
)
from reportgen.training.recorder import MAX_POINTS
from reportgen.training.told import history_of

from .test_monitor import batches, net, plain

HEAD = Session(version=JOURNAL_VERSION, pid=1)


def run(path: Path, epochs: range, *, steps: int = 3, model: nn.Module | None = None) -> History:
    model = model or net()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    monitor = reportgen.Monitor(model, optimizer, log=path, progress=False, hyperparameters={"width": 16})
    with monitor:
        for epoch in epochs:
            for x, y in monitor.batches(batches(steps)):
                monitor.log(train_loss=plain(model, x, y, optimizer))
            monitor.log(epoch=epoch, val_loss=1 / (epoch + 1))
        monitor.log_text("done")
    return monitor.history()


def test_a_log_read_back_is_the_history_that_the_monitor_had(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "1" / "history.jsonl"
    history = run(path, range(4))
    assert read_journal(path) == history
    assert history.interrupted == ""
    assert is_journal(path)
    assert [line for line in path.read_bytes().splitlines() if not msgspec.json.decode(line)] == []


def test_a_session_without_a_step_does_not_say_that_nothing_moved(tmp_path: Path) -> None:
    model, path = net(), tmp_path / "run.jsonl"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with reportgen.Monitor(model, optimizer, log=path):
        for x, y in batches(6):
            plain(model, x, y, optimizer)
    again = reportgen.Monitor(model, optimizer, log=path)
    with again:
        pass
    assert all(p.changed for p in again.history().parameters)
    assert "no-weight-update" not in {f.rule for f in again.report().findings}
    assert read_journal(path) == again.history()


def test_a_loop_of_ones_own_says_which_checkpoint_it_goes_on_from(tmp_path: Path) -> None:
    model, path = net(), tmp_path / "run.jsonl"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def train(monitor: reportgen.Monitor, epochs: range, steps: int) -> None:
        with monitor:
            for epoch in epochs:
                for x, y in batches(10)[:steps]:
                    monitor.log(train_loss=plain(model, x, y, optimizer))
                    steps -= 1
                if steps > 0:
                    monitor.log(epoch=epoch, val_loss=1.0)

    train(reportgen.Monitor(model, optimizer, log=path), range(3), 27)  # broken off in the third epoch
    monitor = reportgen.Monitor(model, optimizer, log=path)
    monitor.after(20, 1)
    train(monitor, range(2, 4), 21)
    history = monitor.history()
    assert (history.steps, history.epochs) == (40, 4)
    losses, judged = history.get("train_loss", "step"), history.get("val_loss", "epoch")
    assert losses is not None
    assert judged is not None
    assert (losses.n, losses.x, judged.x) == (40, [float(i + 1) for i in range(40)], [0.0, 1.0, 2.0, 3.0])
    assert [(e.kind, e.step, e.epoch, e.value) for e in history.events] == [("gap", 20, 1.0, 27.0)]
    assert read_journal(path) == history


def test_half_characters_do_not_stop_the_loop(tmp_path: Path) -> None:
    model, path = net(), tmp_path / "run.jsonl"
    monitor = reportgen.Monitor(model, log=path, hyperparameters={"\ud800": "\udfff"})
    with monitor:
        monitor.log(**{"lo\ud800ss": 1.0})
        monitor.log_text("\ud83d")
    history = read_journal(path)
    assert [s.name for s in history.series] == ["lo\ufffdss"]
    assert history.hyperparameters == {"\ufffd": "\ufffd"}
    assert [e.detail for e in history.events] == ["\ufffd"]


def test_a_run_gone_on_with_appends_and_marks_the_gap(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    run(path, range(2))
    first = path.read_bytes()
    history = run(path, range(2))  # epochs begin at 0 again, and go on all the same
    assert path.read_bytes().startswith(first)
    assert read_journal(path) == history
    assert (history.steps, history.epochs) == (12, 4)
    assert [(e.kind, e.step, e.epoch) for e in history.events if e.kind == "gap"] == [("gap", 6, 1.0)]
    found, by_step = history.get("val_loss", "epoch"), history.get("train_loss", "step")
    assert found is not None
    assert by_step is not None
    assert found.x == [0, 1, 2, 3]
    assert by_step.x == list(range(1, 13))
    assert history.parameters[0].n_steps == 12
    assert history.loop is not None
    assert history.loop.n_backwards_seen == 12
    assert history.seconds == read_journal(path).seconds


@pytest.mark.parametrize("tail", [b'{"type":"row","axis":"st', b"\x00\x00\x00", b'{"type":"rows","x":[1.0],"values"'])
def test_a_line_cut_short_is_read_around(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "h.jsonl"
    history = run(path, range(2))
    with path.open("ab") as file:
        file.write(tail)
    torn = read_journal(path)
    assert torn.series == history.series
    assert torn.parameters == history.parameters
    assert [e.detail for e in torn.events if e.kind == "note"] == ["1 damaged line of h.jsonl left out"]
    again = run(path, range(1))
    assert again.epochs == 3
    assert read_journal(path).series == again.series
    assert path.read_bytes().count(tail + b"\n") == 1  # closed off, not lost


def test_a_head_cut_short_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    path.write_bytes(b'{"type":"sess')
    history = run(path, range(1))
    assert read_journal(path) == history
    assert history.epochs == 1


LOOP = """
import sys, time, torch, reportgen
from torch import nn
net = nn.Linear(4, 2)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
monitor = reportgen.Monitor(net, optimizer, log=sys.argv[1], progress=False)
with monitor:
    for epoch in range(10**6):
        for _ in range(5):
            optimizer.zero_grad()
            loss = net(torch.randn(8, 4)).square().mean()
            loss.backward()
            optimizer.step()
            monitor.log(train_loss=loss)
        monitor.log(epoch=epoch, val_loss=loss)
        print(epoch, flush=True)
"""


@pytest.mark.slow
def test_a_killed_process_loses_nothing_that_was_flushed(tmp_path: Path) -> None:
    path = tmp_path / "h.jsonl"
    child = subprocess.Popen([sys.executable, "-c", LOOP, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        told = [int(child.stdout.readline()) for _ in range(20)]
        with pytest.raises(reportgen.ReportgenError, match=rf"h\.jsonl is being written by process {child.pid}"):
            Journal(path)
    finally:
        child.kill()
        told += [int(line) for line in child.stdout.read().splitlines() if line.strip().isdigit()]
        child.stdout.close()
        child.wait()
    assert child.returncode == -signal.SIGKILL
    history = read_journal(path)
    losses, steps = history.get("val_loss", "epoch"), history.get("train_loss", "step")
    assert losses is not None
    assert steps is not None
    assert losses.n >= len(told) >= 20
    assert losses.x[:20] == list(range(20))
    assert steps.n >= 5 * losses.n
    assert history.epochs == losses.n
    assert history.steps >= 5 * losses.n
    assert history.interrupted.startswith("no end was written")
    assert history.parameters
    assert history.histograms
    # and the lock went with the process
    monitor = reportgen.Monitor(nn.Linear(1, 1), log=path)
    with monitor:
        monitor.log(epoch=0, val_loss=0.0)
    assert monitor.history().epochs == losses.n + 1


def test_two_monitors_on_one_file_are_an_error_with_its_name(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    one, two = (reportgen.Monitor(model, optimizer, log=tmp_path / "h.jsonl") for _ in range(2))
    with one, pytest.raises(reportgen.ReportgenError, match=f"written by process {os.getpid()}"):
        two.__enter__()
    with two:  # it was left as it was, and may be entered now
        pass
    assert len(two.history().events) == 1


def test_without_file_locks_a_file_beside_stands_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "fcntl", None)
    path = tmp_path / "h.jsonl"
    journal = Journal(path)
    with pytest.raises(reportgen.ReportgenError, match=rf"process {os.getpid()}.*delete h\.jsonl\.lock"):
        Journal(path)
    journal.close()
    assert [p.name for p in tmp_path.iterdir()] == ["h.jsonl"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"epoch,loss\n1,2\n", "no log of a monitor"),
        (b'{"a": 1}\n', "no log of a monitor"),
        (b'{"type":"session","version":99}\n', "has format version 99"),
    ],
)
def test_what_is_no_log_is_refused_and_not_written_to(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "h.jsonl"
    path.write_bytes(data)
    with pytest.raises(reportgen.ReportgenError, match=message):
        read_journal(path)
    monitor = reportgen.Monitor(nn.Linear(1, 1), log=path)
    with pytest.raises(reportgen.ReportgenError, match=message):
        monitor.__enter__()
    assert path.read_bytes() == data
    assert not is_journal(path) or b"session" in data


def test_paths_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(reportgen.ReportgenError, match="Cannot read"):
        read_journal(tmp_path / "nothing.jsonl")
    with pytest.raises(reportgen.ReportgenError, match="Cannot write the log"):
        Journal(tmp_path)


def test_an_interval_flushes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reportgen.training.notebook.FLUSH_SECONDS", 0.0)
    model, path = net(), tmp_path / "h.jsonl"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = reportgen.Monitor(model, optimizer, log=path)
    with monitor:
        for x, y in batches(4):
            monitor.log(train_loss=plain(model, x, y, optimizer))
        assert read_journal(path).get("train_loss", "step").n == 3  # type: ignore[union-attr]
        assert read_journal(path).steps == 4


def test_a_disk_that_takes_no_more_does_not_stop_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Journal) -> None:
        raise OSError(28, "No space left on device")

    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = reportgen.Monitor(model, optimizer, log=tmp_path / "h.jsonl")
    with monitor:
        monkeypatch.setattr(Journal, "flush", full)
        for epoch in range(3):
            for x, y in batches(2):
                monitor.log(train_loss=plain(model, x, y, optimizer))
            monitor.log(epoch=epoch)
    history = monitor.history()
    assert history.epochs == 3
    assert ["No space left" in e.detail for e in history.events if e.kind == "note"] == [True]


# --- long runs --------------------------------------------------------------------------------------------------------


def test_what_is_kept_does_not_grow_with_the_run() -> None:
    ledger = Ledger()
    book(ledger, HEAD)
    book(ledger, Parameters(entries=[ParameterEntry(name="w")]))
    for step in range(0, 200_000, 10):
        book(ledger, Rows(x=[float(step + i) for i in range(10)], values={"train_loss": [1.0] * 10}))
        book(ledger, Gradients(step=step, at=[0], norms=[1.0]))
        book(ledger, Movement(step=step, at=[0], ratios=[0.1]))
        book(ledger, Happening(event=Event(kind="text", detail=str(step))))
    history = history_of(ledger)
    (series,) = history.series
    assert series.n == 200_000
    assert len(series.y) <= MAX_POINTS
    (parameter,) = history.parameters
    assert parameter.n_looked == 20_000
    assert parameter.gradient_norm is not None
    assert 32 <= len(parameter.gradient_norm.y) <= 64
    assert len(history.events) <= 1000
    assert history.events[0].detail == "0"
    assert history.events[-1].detail == "199990"


# --- any sequence of sessions -----------------------------------------------------------------------------------------

finite = st.one_of(st.none(), st.floats(-1e9, 1e9))
names = st.sampled_from(["train_loss", "val_loss", "lr", "ø\n\"'"])
observations = st.one_of(
    st.builds(Row, axis=st.just("step"), x=st.floats(0, 1e6), values=st.dictionaries(names, finite, max_size=3)),
    st.builds(Row, axis=st.just("epoch"), x=st.floats(0, 100), values=st.dictionaries(names, finite, max_size=3)),
    st.lists(st.tuples(st.floats(0, 1e6), finite), min_size=1, max_size=5).map(
        lambda rows: Rows(x=[x for x, _ in rows], values={"train_loss": [y for _, y in rows]})
    ),
    st.builds(Gradients, step=st.integers(0, 99), at=st.just([0, 1]), norms=st.lists(finite, min_size=2, max_size=2)),
    st.builds(Happening, event=st.builds(Event, kind=st.sampled_from(["text", "note"]), detail=st.text())),
    st.builds(Counters, tally=st.builds(Tally, steps=st.integers(0, 99), optimizer_steps=st.just([3]))),
)
TABLE = Parameters(entries=[ParameterEntry(name="a", optimizer=0), ParameterEntry(name="b")])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    sessions=st.lists(st.lists(observations, max_size=12), min_size=1, max_size=3),
    ends=st.lists(st.booleans(), min_size=3, max_size=3),
    cut=st.integers(0, 40),
)
def test_whatever_is_written_killed_and_gone_on_with_is_read_back(
    sessions: list[list[Observation]], ends: list[bool], cut: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path, memory, torn = Path(folder) / "h.jsonl", Ledger(), 0
        for body, whole in zip(sessions, ends, strict=False):
            journal = Journal(path)
            journal.resume()
            lines = [HEAD, TABLE, *body, *([End()] if whole else [])]
            for seen in lines:
                journal.add(seen)
                book(memory, seen)
            journal.close()
            if not whole:  # the next line was cut short by the kill
                line = msgspec.json.encode(Row(axis="step", x=0, values={"train_loss": 1.0}))[: 1 + cut]
                path.write_bytes(path.read_bytes() + line)
                torn += 1
        if torn:
            detail = f"{torn} damaged {'line' if torn == 1 else 'lines'} of h.jsonl left out"
            book(memory, Happening(event=Event(kind="note", detail=detail)))
        assert read_journal(path) == history_of(memory)
