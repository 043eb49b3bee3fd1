"""Structure and size: totals that add up, FLOPs against hand formulas."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchinfo.layer_info import LayerInfo

from reportgen.document.facts import ArchitectureFacts
from reportgen.probe.architecture import measure, of_tensors
from reportgen.probe.forward import ForwardPass, observe
from reportgen.probe.guard import untouched
from reportgen.subject.data import Batch


def look(model: nn.Module, *args: object) -> ArchitectureFacts:
    with untouched(model):
        return measure(model, observe(model, Batch(args)) if args else None)


def watch(model: nn.Module, *args: object) -> ForwardPass:
    with untouched(model):
        return observe(model, Batch(args))


def test_rows_add_up_to_the_total_and_tied_tensors_count_once() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(7, 4), nn.Linear(4, 7)
            self.head.weight = self.embed.weight
            self.scale = nn.Parameter(torch.ones(3), requires_grad=False)
            self.register_buffer("b", torch.zeros(5, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.embed(x))

    facts = look(Tied(), torch.tensor([[1, 2]]))
    assert facts.parameters == 28 + 7 + 3 == sum(row.parameters for row in facts.rows)
    assert facts.trainable == 35
    assert (facts.buffers, facts.buffer_bytes, facts.parameter_bytes) == (5, 40, 152)
    assert facts.tied == [["embed.weight", "head.weight"]]
    assert facts.dtypes == {"float32": 38}


@pytest.mark.parametrize(
    ("model", "shape", "flops"),
    [
        (nn.Linear(10, 6), (4, 10), 2 * 4 * 10 * 6),
        (nn.Conv2d(3, 8, 3, padding=1), (2, 3, 8, 8), 2 * 2 * 8 * 64 * 27),
        (nn.Conv2d(8, 8, 3, groups=8), (1, 8, 6, 6), 2 * 8 * 16 * 9),
        (nn.ConvTranspose2d(4, 2, 2, stride=2), (1, 4, 3, 3), 2 * 4 * 9 * 2 * 4),
    ],
)
def test_flops_follow_the_hand_formula(model: nn.Module, shape: tuple[int, ...], flops: int) -> None:
    facts = look(nn.Sequential(model), torch.randn(shape))
    assert facts.flops == flops
    assert {row.name: row.flops for row in facts.rows} == {"": flops, "0": flops}


def test_torchinfo_s_figures_and_calls_are_by_module() -> None:
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 6), relu, nn.Linear(6, 3), relu)
    facts = look(model, torch.randn(5, 4))
    rows = {row.name: row for row in facts.rows}
    assert rows["1"].calls == 2
    assert (rows["0"].input_shape, rows["0"].output_shape) == ("5 × 4", "5 × 6")
    assert facts.mult_adds == 5 * (4 * 6 + 6 + 6 * 3 + 3)  # torchinfo counts the bias as one more
    assert facts.batch_size == 5


def test_layers_of_two_lists_called_in_turn_cost_no_more_than_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where torchinfo brings its layers in order, it counts the parameters of a whole list at each of its layers."""

    class Turns(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.ModuleList(nn.Linear(4, 4) for _ in range(60))
            self.norms = nn.ModuleList(nn.LayerNorm(4) for _ in range(60))

        def forward(self, x: Tensor) -> Tensor:
            for layer, norm in zip(self.body, self.norms, strict=True):
                x = x + layer(norm(x))
            return x

    counted: list[str] = []
    count = LayerInfo.get_param_count

    def counting(module: nn.Module, name: str, parameter: Tensor) -> tuple[int, str]:
        counted.append(name)
        return count(module, name, parameter)

    monkeypatch.setattr(LayerInfo, "get_param_count", staticmethod(counting))
    facts = look(Turns(), torch.randn(2, 4))
    assert facts.mult_adds == 60 * 2 * (4 * 4 + 4) + 60 * 2 * (4 + 4)
    assert len(counted) <= 4 * 240  # 240 parameters, seen by the model and by their layer, twice each


def test_work_without_a_formula_is_named() -> None:
    class Spectrum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.interpolate(torch.fft.rfft(x).abs(), scale_factor=2.0, mode="linear")

    facts = look(Spectrum(), torch.randn(1, 2, 8))
    assert facts.flops == 0
    assert facts.uncounted == ["_fft_r2c (1 call)"]


def test_torchinfo_s_trap_of_one_class_name_for_two_models_is_avoided() -> None:
    small = look(nn.Sequential(nn.Linear(4, 4)), torch.randn(1, 4))
    large = look(nn.Sequential(nn.Linear(40, 50)), torch.randn(1, 40))
    assert (small.parameters, large.parameters) == (20, 2050)
    assert large.rows[1].input_shape == "1 × 40"


def test_without_an_input_the_static_part_stands() -> None:
    facts = look(nn.Linear(3, 2))
    assert facts.parameters == 8
    assert facts.flops is None
    assert facts.rows[0].calls is None


def test_a_model_that_refuses_the_input_raises_its_own_error() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        look(nn.Linear(3, 2), torch.randn(1, 7))


def test_views_of_one_storage_count_once() -> None:
    """Two parameters that are two objects but one memory; slices of a flat buffer are memory of their own."""

    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Linear(4, 6, bias=False)
            self.decoder = nn.Linear(6, 4, bias=False)
            self.decoder.weight = nn.Parameter(self.encoder.weight.detach().t())
            flat = torch.zeros(10)
            self.head, self.tail, self.both = (nn.Parameter(p) for p in (flat[:4], flat[4:], flat[2:8]))

    facts = look(Views())
    assert facts.parameters == 24 + 10 == sum(row.parameters for row in facts.rows)
    assert facts.parameter_bytes == 4 * 34


def test_a_module_read_by_its_parent_is_used_though_never_called() -> None:
    class Reads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.read, self.idle = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(x, self.read.weight)

    rows = {row.name: row for row in look(Reads(), torch.randn(2, 4)).rows}
    assert (rows["read"].calls, rows["read"].used) == (0, True)
    assert (rows["idle"].calls, rows["idle"].used) == (0, False)


def test_bytes_by_module_follow_shapes_and_types() -> None:
    model = nn.Sequential(nn.Linear(4, 6).double(), nn.ReLU())
    model[0].bias.requires_grad_(False)
    rows = {row.name: row for row in look(model, torch.randn(5, 4, dtype=torch.float64)).rows}
    assert (rows["0"].parameter_bytes, rows["0"].gradient_bytes) == (8 * 30, 8 * 24)
    assert rows["0"].output_bytes == rows["1"].output_bytes == 8 * 30


def test_the_peak_of_the_forward_pass_follows_from_what_is_alive_together() -> None:
    """Batch 4: 1 → 50 → 10. Each layer's input lives until its output is there; the second pair is the larger."""
    model = nn.Sequential(nn.Linear(1, 20), nn.Linear(20, 50), nn.ReLU(inplace=True), nn.Linear(50, 10))
    seen = watch(model, torch.randn(4, 1))
    assert seen.peak_bytes == 4 * 4 * (20 + 50)
    assert seen.peak_at == "1"


def test_a_skip_connection_keeps_its_tensor_alive() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            kept = self.a(x)
            view = kept.view(-1, 2, 4)[:, :1]  # views weigh nothing
            return kept + self.b(torch.relu(kept)) + view.sum()

    # at the last addition: kept, the first sum, one number, and the result; while b runs one number less
    assert watch(Skip(), torch.randn(3, 8)).peak_bytes == 4 * (3 * 3 * 8 + 1)


def test_the_peak_agrees_with_the_allocator_s_own_record() -> None:
    """The profiler sees every allocation; without workspaces both must say the same."""
    model, x = nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64), nn.Softmax(-1)), torch.randn(32, 64)
    with torch.no_grad(), torch.profiler.profile(profile_memory=True) as record:
        out = model(x)
    now = peak = 0
    for event in _allocations(record):
        now += event
        peak = max(peak, now)
    assert out is not None
    assert watch(model, x).peak_bytes == pytest.approx(peak, rel=0.02)


def _allocations(record: torch.profiler.profile) -> list[int]:
    """Return the sizes of all blocks taken (positive) and given back (negative), in order."""
    events = record.profiler.kineto_results.events()
    return [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns()) if e.name() == "[memory]"]


def test_a_submodule_that_raises_and_is_caught_does_not_upset_the_rest() -> None:
    class Tries(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wrong, self.right = nn.Sequential(nn.Linear(9, 2)), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            try:
                return self.wrong(x)
            except RuntimeError:
                return self.right(x)

    rows = {row.name: row for row in look(Tries(), torch.randn(5, 4)).rows}
    assert (rows["right"].flops, rows["wrong"].flops, rows[""].flops) == (80, 0, 80)
    assert (rows["right"].calls, rows["wrong"].calls) == (1, 0)


def test_inference_mode_inside_a_model_hides_no_work() -> None:
    class Inferring(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 6)

        @torch.inference_mode()
        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x)

    facts = look(Inferring(), torch.randn(3, 4))
    assert (facts.flops, facts.uncounted) == (2 * 3 * 4 * 6, [])


def test_a_pass_over_two_thousand_layers_is_linear_in_them() -> None:
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(2000)))
    facts = look(model, torch.randn(2, 4))
    assert len(facts.rows) == 2001
    assert facts.flops == 2000 * 2 * 2 * 16


def test_a_bare_file_tells_parameters_from_running_statistics_and_does_not_say_what_trains() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8))
    facts = of_tensors(model.state_dict())
    assert facts.parameters == sum(p.numel() for p in model.parameters())
    assert facts.parameter_bytes == 4 * facts.parameters
    assert facts.buffers == 8 + 8 + 1
    assert facts.trainable is None
