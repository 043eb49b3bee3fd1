"""Curves of bounded size."""

import math

from reportgen.training.recorder import MAX_POINTS, Recorder, Track


def test_non_finite_values_are_counted_and_never_written() -> None:
    recorder = Recorder()
    for step, value in enumerate([1.0, math.nan, 2.0, math.inf]):
        recorder.log("step", step, {"train_loss": value})
    (series,) = recorder.series()
    assert series.y == [1.0, None, 2.0, None]
    assert (series.nonfinite, series.first_nonfinite) == (2, 1)


def test_a_long_series_is_thinned_and_its_count_stays_exact() -> None:
    recorder = Recorder()
    n = 50_000
    for step in range(n):
        recorder.log("step", step, {"value": float(step)})
    (series,) = recorder.series()
    assert series.n == n
    assert MAX_POINTS / 2 <= len(series.y) <= MAX_POINTS
    assert series.x == series.y
    assert len({b - a for a, b in zip(series.x, series.x[1:], strict=False)}) == 1


def test_of_a_thinned_curve_that_is_cut_the_count_is_that_of_a_steady_pace() -> None:
    for last in range(90):
        track = Track(limit=8)
        track.extend([float(x) for x in range(90)], [float(x) for x in range(90)])
        track.cut(last + 0.5)
        assert track.n == last + 1
        assert track.values == track.x == [float(x) for x in range(0, last + 1, track.every)]


def test_series_by_epoch_come_first() -> None:
    recorder = Recorder()
    recorder.log("step", 1, {"b": 1.0, "a": 1.0})
    recorder.log("epoch", 1, {"c": 1.0, "a": 2.0})
    assert [(s.name, s.axis) for s in recorder.series()] == [
        ("c", "epoch"),
        ("a", "epoch"),
        ("b", "step"),
        ("a", "step"),
    ]


def test_a_track_without_points_is_no_trace() -> None:
    assert Track().trace() is None
