"""What every test may rely on: global state as it was before, and golden files."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).with_name("golden")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew; then read the diff")
    parser.addoption("--bench", action="store_true", help="prove every program of the fault bench too: many minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the proof of the fault bench to those who ask for it: it tests the bench, not the package."""
    left_out = [] if config.getoption("--bench") else [item for item in items if "bench" in item.keywords]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _global_state() -> dict[str, Any]:
    """Return what a library has no business to change, as far as it is loaded."""
    state: dict[str, Any] = {"root logger's handlers": list(logging.getLogger().handlers)}
    if (mpl := sys.modules.get("matplotlib")) is not None and hasattr(mpl, "rcParams"):
        state["matplotlib settings"] = dict(mpl.rcParams.copy())
    if (torch := sys.modules.get("torch")) is not None and hasattr(torch, "get_default_dtype"):
        state["torch grad mode"] = torch.is_grad_enabled()
        state["torch default dtype"] = torch.get_default_dtype()
    return state


@pytest.fixture(autouse=True)
def _leaves_no_trace() -> Iterator[None]:
    """Fail a test that changes settings of the whole process, and give the next one the same random numbers."""
    before = _global_state()
    torch = sys.modules.get("torch")
    rng = torch.get_rng_state() if torch is not None and hasattr(torch, "get_rng_state") else None
    yield
    if torch is not None and rng is not None:
        torch.set_rng_state(rng)
    after = _global_state()
    changed = [key for key, value in before.items() if after[key] != value]
    assert not changed, f"the test changed: {', '.join(changed)}"


@pytest.fixture
def without_learning(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the experiments that train copies: most of the time of an examination of a small model."""
    from reportgen.probe.trials import run

    learning = {
        "one-batch",
        "trained-on",
        "head-drowned",
        "other-ways",
        "learned-anew",
        "unseen-half",
        "half-as-many",
        "shuffled-labels",
        "gradient-noise",
    }
    monkeypatch.setattr(run, "EXPERIMENTS", tuple(row for row in run.EXPERIMENTS if row[0] not in learning))


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, bytes], None]:
    """Return a comparison with a file of tests/golden; on a difference the actual bytes are saved beside it."""
    update: bool = request.config.getoption("--update-golden")

    def compare(name: str, data: bytes) -> None:
        expected, actual = GOLDEN / name, GOLDEN / f"{name}.actual"
        if update:
            expected.write_bytes(data)
        if expected.is_file() and expected.read_bytes() == data:
            actual.unlink(missing_ok=True)
            return
        actual.write_bytes(data)
        pytest.fail(f"{name} differs from its golden file: see {actual.name}, or run with --update-golden")

    return compare
