"""Structure and size: totals that add up, FLOPs against hand formulas."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reportgen.probe.architecture import measure
from reportgen.probe.guard import untouched
from reportgen.subject.data import Batch


def look(model: nn.Module, *args: Tensor) -> tuple[object, str]:
    with untouched(model):
        return measure(model, Batch(args) if args else None)


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

    facts, reason = look(Tied(), torch.tensor([[1, 2]]))
    assert not reason
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
    facts, _ = look(nn.Sequential(model), torch.randn(shape))
    assert facts.flops == flops
    assert {row.name: row.flops for row in facts.rows} == {"": flops, "0": flops}


def test_torchinfo_s_figures_and_calls_are_by_module() -> None:
    relu = nn.ReLU()
    model = nn.Sequential(nn.Linear(4, 6), relu, nn.Linear(6, 3), relu)
    facts, _ = look(model, torch.randn(5, 4))
    rows = {row.name: row for row in facts.rows}
    assert rows["1"].calls == 2
    assert (rows["0"].input_shape, rows["0"].output_shape) == ("5 × 4", "5 × 6")
    assert facts.mult_adds == 5 * (4 * 6 + 6 + 6 * 3 + 3)  # torchinfo counts the bias as one more
    assert facts.batch_size == 5


def test_work_without_a_formula_is_named() -> None:
    class Attention(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(x, x, x)

    facts, _ = look(Attention(), torch.randn(1, 2, 8, 4))
    assert facts.flops or any("attention" in name for name in facts.uncounted)


def test_torchinfo_s_trap_of_one_class_name_for_two_models_is_avoided() -> None:
    small, _ = look(nn.Sequential(nn.Linear(4, 4)), torch.randn(1, 4))
    large, _ = look(nn.Sequential(nn.Linear(40, 50)), torch.randn(1, 40))
    assert (small.parameters, large.parameters) == (20, 2050)
    assert large.rows[1].input_shape == "1 × 40"


def test_without_an_input_the_static_part_stands() -> None:
    facts, reason = look(nn.Linear(3, 2))
    assert facts.parameters == 8
    assert facts.flops is None
    assert facts.rows[0].calls is None
    assert "no data" in reason


def test_a_model_that_refuses_the_input_keeps_the_static_part() -> None:
    facts, reason = look(nn.Linear(3, 2), torch.randn(1, 7))
    assert facts.parameters == 8
    assert "RuntimeError" in reason
