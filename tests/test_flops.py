"""FLOPs of the known kinds of layers against hand formulas and torch's own counter: a multiply-add is two."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from reportgen.probe.flops import FORMULAS, flops_of
from reportgen.probe.forward import ForwardPass, observe
from reportgen.subject.data import Batch


def work(model: nn.Module, *args: object) -> ForwardPass:
    return observe(model, Batch(args))


class Apply(nn.Module):
    """A function as a model."""

    def __init__(self, function: Callable[..., object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Tensor) -> object:
        return self.function(*args)


def rand(*shape: int) -> Tensor:
    return torch.randn(shape)


LAYERS = {
    "dense": (nn.Linear(10, 6), rand(4, 10), 2 * 4 * 10 * 6),
    "dense on sequences": (nn.Linear(10, 6), rand(4, 7, 10), 2 * 4 * 7 * 10 * 6),
    "dense without a bias": (nn.Linear(10, 6, bias=False), rand(4, 10), 2 * 4 * 10 * 6),
    "bilinear": (nn.Bilinear(3, 4, 5), (rand(2, 3), rand(2, 4)), 2 * 2 * 5 * 3 * (4 + 1)),
    "conv 1-D": (nn.Conv1d(3, 8, 5), rand(2, 3, 20), 2 * 2 * 8 * 16 * 3 * 5),
    "conv 2-D": (nn.Conv2d(3, 8, 3, padding=1), rand(2, 3, 8, 8), 2 * 2 * 8 * 64 * 27),
    "conv 3-D": (nn.Conv3d(2, 4, 3), rand(1, 2, 5, 6, 7), 2 * 4 * (3 * 4 * 5) * 2 * 27),
    "grouped conv": (nn.Conv2d(8, 12, 3, groups=4), rand(1, 8, 6, 6), 2 * 12 * 16 * 2 * 9),
    "depthwise conv": (nn.Conv2d(8, 8, 3, groups=8), rand(1, 8, 6, 6), 2 * 8 * 16 * 9),
    "dilated, strided conv": (nn.Conv2d(2, 3, 3, stride=2, dilation=2), rand(1, 2, 9, 9), 2 * 3 * 9 * 2 * 9),
    "one image without a batch": (nn.Conv2d(3, 8, 3), rand(3, 8, 8), 2 * 8 * 36 * 27),
    "transposed conv": (nn.ConvTranspose2d(4, 2, 2, stride=2), rand(1, 4, 3, 3), 2 * 4 * 9 * 2 * 4),
    "transposed grouped conv": (nn.ConvTranspose1d(4, 6, 3, groups=2), rand(2, 4, 5), 2 * 2 * 4 * 5 * 3 * 3),
    "LSTM": (nn.LSTM(5, 7), rand(3, 2, 5), 2 * 6 * 4 * 7 * (5 + 7)),
    "two-layer LSTM both ways": (
        nn.LSTM(5, 7, 2, bidirectional=True, batch_first=True),
        rand(2, 3, 5),
        2 * 2 * 6 * 28 * (5 + 7) + 2 * 2 * 6 * 28 * (14 + 7),
    ),
    "LSTM with a projection": (nn.LSTM(5, 7, proj_size=3), rand(3, 2, 5), 2 * 6 * (28 * (5 + 3) + 7 * 3)),
    "GRU": (nn.GRU(5, 7), rand(3, 2, 5), 2 * 6 * 3 * 7 * (5 + 7)),
    "RNN": (nn.RNN(5, 7, 2), rand(3, 2, 5), 2 * 6 * 7 * (5 + 7) + 2 * 6 * 7 * (7 + 7)),
    "LSTM cell": (nn.LSTMCell(5, 7), rand(2, 5), 2 * 2 * 28 * (5 + 7)),
    "GRU cell": (nn.GRUCell(5, 7), rand(2, 5), 2 * 2 * 21 * (5 + 7)),
    "embedding": (nn.Embedding(9, 4), torch.tensor([[1, 2]]), 0),
    "batch norm": (nn.BatchNorm2d(3), rand(2, 3, 4, 4), 0),
    "pooling": (nn.AdaptiveAvgPool2d(1), rand(2, 3, 4, 4), 0),
    "interpolation": (nn.Upsample(scale_factor=2, mode="bilinear"), rand(1, 2, 4, 4), 0),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_costs_what_the_hand_formula_says(name: str) -> None:
    model, x, flops = LAYERS[name]
    seen = work(nn.Sequential(model) if isinstance(x, Tensor) else model, *(x if isinstance(x, tuple) else (x,)))
    assert (seen.flops, seen.uncounted) == (flops, [])


def attention(batch: int, n_q: int, n_k: int, width: int) -> int:
    """All heads together: Q Kᵀ and its product with V."""
    return 4 * batch * n_q * n_k * width


def projections(batch: int, n_q: int, n_k: int, width: int) -> int:
    return 2 * batch * (2 * n_q + 2 * n_k) * width * width


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("causal", [False, True])
def test_fused_attention_counts_both_products(dtype: torch.dtype, causal: bool) -> None:
    q, k, v = rand(2, 3, 5, 4).to(dtype), rand(2, 3, 7, 4).to(dtype), rand(2, 3, 7, 4).to(dtype)
    seen = work(Apply(lambda *a: F.scaled_dot_product_attention(*a, is_causal=causal)), q, k, v)
    assert (seen.flops, seen.uncounted) == (attention(2, 5, 7, 3 * 4), [])


def test_attention_with_a_mask_or_values_of_another_width() -> None:
    q, k, v, mask = rand(2, 3, 5, 4), rand(2, 3, 7, 4), rand(2, 3, 7, 6), torch.rand(5, 7) > 0.2
    seen = work(Apply(lambda *a: F.scaled_dot_product_attention(*a[:3], attn_mask=a[3])), q, k, v, mask)
    assert (seen.flops, seen.uncounted) == (2 * 2 * 3 * 5 * 7 * (4 + 6), [])


def test_torch_s_counter_has_nothing_for_attention_on_a_cpu() -> None:
    """The reason for formulas of our own; when this fails they can go."""
    q = rand(2, 3, 5, 4)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        F.scaled_dot_product_attention(q, q, q)
    assert counter.get_total_flops() == 0


@pytest.mark.parametrize("weights", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
def test_multi_head_attention_on_its_fast_and_slow_path(weights: bool, batch_first: bool) -> None:
    class Attend(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.MultiheadAttention(8, 2, batch_first=batch_first)

        def forward(self, q: Tensor, k: Tensor) -> Tensor:
            return self.inner(q, k, k, need_weights=weights)[0]

    x, memory = rand(3, 5, 8), rand(3, 7, 8)
    if not batch_first:
        x, memory = x.transpose(0, 1), memory.transpose(0, 1)
    own, cross = work(Attend(), x, x), work(Attend(), x, memory)
    assert own.flops == projections(3, 5, 5, 8) + attention(3, 5, 5, 8)
    assert cross.flops == projections(3, 5, 7, 8) + attention(3, 5, 7, 8)
    assert own.uncounted == cross.uncounted == []


def test_a_transformer_layer_counts_the_same_with_hooks_and_without() -> None:
    """Hooks put the layer on its slow path; a scripted one takes none and keeps the fused operator."""
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    x = rand(3, 5, 8)
    expected = projections(3, 5, 5, 8) + attention(3, 5, 5, 8) + 2 * 2 * 3 * 5 * 8 * 16
    assert work(layer, x).flops == expected
    fused: list[int | None] = []

    class Fused(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            out = func(*args, **(kwargs or {}))
            fused.append(flops_of(func, args, kwargs or {}, out))
            return out

    with torch.no_grad(), Fused():
        layer(x)
    assert fused == [expected]


def test_products_of_matrices_under_all_their_names() -> None:
    a, b, v = rand(3, 4), rand(4, 5), rand(4)
    batch_a, batch_b = rand(2, 3, 4), rand(2, 4, 5)
    cases = [
        (lambda: a @ b, 2 * 3 * 4 * 5),
        (lambda: a @ v, 2 * 3 * 4),
        (lambda: v @ v, 2 * 4),
        (lambda: torch.addmv(rand(3), a, v), 2 * 3 * 4),
        (lambda: batch_a @ batch_b, 2 * 2 * 3 * 4 * 5),
        (lambda: torch.baddbmm(rand(2, 3, 5), batch_a, batch_b), 2 * 2 * 3 * 4 * 5),
        (lambda: torch.addbmm(rand(3, 5), batch_a, batch_b), 2 * 2 * 3 * 4 * 5),
        (lambda: torch.einsum("bij,bjk->bik", batch_a, batch_b), 2 * 2 * 3 * 4 * 5),
        (lambda: torch.mm(a.cfloat(), b.cfloat()), 4 * 2 * 3 * 4 * 5),
        (lambda: torch.sparse.mm(torch.eye(4).to_sparse(), b), 2 * 4 * 5),
    ]
    for function, expected in cases:
        seen = work(Apply(function))
        assert (seen.flops, seen.uncounted) == (expected, [])


@pytest.mark.filterwarnings("ignore")
def test_quantised_layers_cost_what_their_originals_cost() -> None:
    from torch.ao import quantization

    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.LSTM(5, 3, 2, bidirectional=True))
    dynamic = quantization.quantize_dynamic(model, {nn.Linear, nn.LSTM})
    expected = 2 * 6 * 4 * 5 + 2 * 2 * 6 * 12 * (5 + 3) + 2 * 2 * 6 * 12 * (6 + 3)
    assert work(model, rand(3, 2, 4)).flops == work(dynamic, rand(3, 2, 4)).flops == expected

    net = nn.Sequential(quantization.QuantStub(), nn.Conv2d(3, 6, 3, groups=3), nn.ReLU(), quantization.DeQuantStub())
    net.eval().qconfig = quantization.default_qconfig
    prepared = quantization.prepare(net)
    prepared(rand(2, 3, 8, 8))
    static = quantization.convert(prepared)
    seen = work(static, rand(2, 3, 8, 8))
    assert (seen.flops, seen.uncounted) == (2 * 2 * 6 * 36 * 9, [])


def test_packed_sequences_cost_their_own_steps_only() -> None:
    packed = nn.utils.rnn.pack_sequence([rand(3, 4), rand(2, 4)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen = work(nn.LSTM(4, 6), packed)
    assert (seen.flops, seen.n_samples) == (2 * 5 * 24 * (4 + 6), 2)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1"])
def test_convolutional_networks_agree_with_torch_s_counter(name: str) -> None:
    from reportgen.subject.model import load_model

    model, x = load_model(f"torchvision:{name}").eval(), rand(2, 3, 64, 64)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(x)
    assert work(model, x).flops == counter.get_total_flops() > 0


def test_published_figures_of_resnet_50_and_vit() -> None:
    """4.09 and 17.56 giga multiply-adds an image of 224 px, as torchvision's pages of the weights have them."""
    from reportgen.subject.model import load_model

    with torch.device("meta"):  # shapes are enough
        resnet, vit = load_model("torchvision:resnet50"), load_model("torchvision:vit_b_16")
    image = torch.empty(1, 3, 224, 224, device="meta")
    assert (work(resnet, image).flops or 0) / 2e9 == pytest.approx(4.09, abs=0.005)
    assert (work(vit, image).flops or 0) / 2e9 == pytest.approx(17.56, abs=0.05)


def test_operators_that_this_build_lacks_are_no_error() -> None:
    assert torch.ops.aten.mm in FORMULAS
    assert flops_of(torch.ops.aten.add.Tensor, (rand(2), rand(2)), {}, rand(2)) == 0
    assert flops_of(torch.ops.aten.linalg_inv_ex.default, (rand(2, 2),), {}, rand(2, 2)) is None


def test_a_formula_that_does_not_fit_is_no_number() -> None:
    assert flops_of(torch.ops.aten.mm.default, (torch.eye(3).to_sparse(), torch.eye(3).to_sparse()), {}, None) is None


@pytest.mark.parametrize(
    ("a", "b", "ends", "flops"),
    [
        (rand(6, 16), rand(2, 16, 8), [2, 6], 2 * 6 * 16 * 8),  # rows of each expert
        (rand(2, 6, 16), rand(2, 16, 8), None, 2 * 2 * 6 * 16 * 8),
        (rand(2, 6, 16), rand(16, 24), [8, 24], 2 * 6 * 16 * 24),  # columns of each
        (rand(6, 32), rand(32, 8), [16, 32], 2 * 6 * 32 * 8),  # a part of the sum of each
    ],
)
def test_products_by_expert_count_each_row_once(a: Tensor, b: Tensor, ends: list[int] | None, flops: int) -> None:
    offsets = None if ends is None else torch.tensor(ends, dtype=torch.int32)
    seen = work(Apply(lambda a, b: torch._grouped_mm(a, b, offs=offsets)), a.bfloat16(), b.bfloat16())
    assert seen.flops == flops
    assert seen.uncounted == []
