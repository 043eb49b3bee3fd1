"""What the probe may cost in memory and in waiting; its time is measured in tests/benchmarks."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from reportgen.probe.activations import MAX_HELD, ActivationProbe
from reportgen.probe.memory import LiveBytes
from reportgen.probe.spread import MIN_HELD
from reportgen.subject.data import Batch


class Weigh(TorchDispatchMode):
    """Adds up what operators return, until it is freed."""

    def __init__(self, *given: Tensor) -> None:
        super().__init__()
        self.bytes = LiveBytes(given)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.bytes.see((args, kwargs), out, "")
        return out


def stack(norm: bool, flatten: bool) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for i in range(4):
        layers += [nn.Conv2d(3 if i == 0 else 24, 24, 3, padding=1), nn.BatchNorm2d(24) if norm else nn.GELU()]
        layers += [nn.ReLU(inplace=norm)]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5)] if flatten else []
    return nn.Sequential(*layers).eval()


def peak(model: nn.Module, x: Tensor, probe: ActivationProbe | None) -> tuple[int, int]:
    """Return the most bytes alive at once during a pass, and those of the accumulators."""
    with torch.no_grad(), Weigh(x, *model.parameters(), *model.buffers()) as weigh:
        if probe is None:
            model(x)
            return weigh.bytes.peak, 0
        with probe.attached():
            probe.next_batch(Batch((x,)))
            model(x)
            probe.next_batch(Batch((x,)))  # all accumulators are there now
            kept = weigh.bytes.now
            weigh.bytes.peak = 0
            model(x)
            most = weigh.bytes.peak
            probe.next_batch(Batch((x,)))
        return most, max(kept, weigh.bytes.now)  # sketches hold a few batches before they add them


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("flatten", [True, False])
def test_peak_memory_is_that_of_the_bare_pass_and_a_little(norm: bool, flatten: bool) -> None:
    model, x = stack(norm, flatten), torch.randn(8, 3, 96, 96)
    bare, _ = peak(model, x, None)
    probed, kept = peak(model, x, ActivationProbe(model))
    assert kept < 4_000_000  # of fixed size: it does not grow with the maps
    assert probed - kept <= 1.05 * bare + 400_000  # places taken of one output, whatever its size


@pytest.mark.slow
def test_what_is_kept_does_not_grow_with_maps_or_batches() -> None:
    model = stack(norm=True, flatten=True)

    def kept(side: int, batches: int) -> int:
        probe, x = ActivationProbe(model), torch.randn(4, 3, side, side)
        with torch.no_grad(), Weigh(x) as weigh, probe.attached():
            for _ in range(batches):
                probe.next_batch(Batch((x,)))
                model(x)
            probe.next_batch(Batch((x,)))
            return weigh.bytes.now

    # what sketches, and all layers together, add several batches of at once
    held = 8 * MIN_HELD * len(list(model.modules())) + 4 * MAX_HELD
    assert kept(128, 1) <= 1.02 * kept(32, 1)
    assert kept(32, 6) <= kept(32, 1) + held
    assert kept(32, 400) <= kept(32, 1) + held


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("build", [lambda: stack(True, True), lambda: stack(False, True)])
def test_no_hook_waits_for_the_device(build: Callable[[], nn.Module]) -> None:
    model, x = build().cuda(), torch.randn(8, 3, 64, 64, device="cuda")
    probe = ActivationProbe(model)
    with torch.no_grad(), probe.attached():
        probe.next_batch(Batch((x,)))
        model(x)
        probe.next_batch(Batch((x,)))
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            model(x)
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert not probe.facts().reasons
