"""Models in other numbers than float32 on dense memory."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.ao import quantization
from torch.nn import functional as F

from .case import NOTHING_TRAINABLE, Case, dense, rand, rows, wanted


class Cast(nn.Module):
    """A small network in one number format."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)
        self.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(torch.tanh(self.a(x)))


class Mixed(nn.Module):
    """Two formats in one model."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8).bfloat16(), nn.Linear(8, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x.bfloat16()).double())


class Complex(nn.Module):
    """Complex weights; magnitudes come out."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3, dtype=torch.complex64)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x.to(torch.complex64)).abs()


class SparseInput(nn.Module):
    """A sparse adjacency times features."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        return torch.sparse.mm(adjacency, self.fc(x))


class SparseGradient(nn.Module):
    """An embedding whose gradient is sparse."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.fc = nn.Embedding(50, 4, sparse=True), nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.fc(self.embed(tokens).sum(1))


class SparseParameter(nn.Module):
    """A parameter that is a sparse tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.mixing = nn.Parameter(torch.eye(4).to_sparse(), requires_grad=False)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(torch.sparse.mm(self.mixing, x.t()).t())


class IntegerParameter(nn.Module):
    """A table of integers as a frozen parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.order = nn.Parameter(torch.tensor([3, 1, 0, 2]), requires_grad=False)
        self.fc = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x[:, self.order])


class Quantisable(nn.Module):
    """For eager static quantisation."""

    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()
        self.conv, self.act, self.fc = nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv(self.quant(x))).mean((2, 3))
        return self.dequant(self.fc(x))


class Sequence(nn.Module):
    """For dynamic quantisation."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.LSTM(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(x.transpose(0, 1))[0][-1])


def static() -> nn.Module:
    """Calibrated on noise and converted to int8."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Quantisable().eval()
        model.qconfig = quantization.default_qconfig  # type: ignore[assignment]
        prepared = quantization.prepare(model)
        prepared(rand(6, 2, 5, 5))
        return quantization.convert(prepared)


def observed() -> nn.Module:
    """Prepared for calibration: observers everywhere."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Quantisable().eval()
        model.qconfig = quantization.default_qconfig  # type: ignore[assignment]
        return quantization.prepare(model)


def dynamic() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return quantization.quantize_dynamic(Sequence().eval(), {nn.Linear, nn.LSTM})


def images() -> list[Any]:
    return [(rand(6, 2, 5, 5), wanted()) for _ in range(2)]


def cast(dtype: torch.dtype) -> Case:
    size = torch.empty(0, dtype=dtype).element_size()
    name = str(dtype).removeprefix("torch.")
    return Case(
        lambda: Cast(dtype),
        lambda: [(rand(6, 4).to(dtype), wanted())] * 2,
        parameters=40 + 27,
        flops=dense(4, 8) + dense(8, 3),
        facts={"dtypes": {name: 67}, "parameter_bytes": 67 * size, "gradient_bytes": 67 * size},
        rows=("a", "b"),
    )


CONV = 2 * 6 * 9 * 4 * 18

CASES = {
    "half": cast(torch.float16),
    "bfloat16": cast(torch.bfloat16),
    "double": cast(torch.float64),
    "mixed formats": Case(
        Mixed,
        lambda: rows(4),
        40 + 27,
        dense(4, 8) + dense(8, 3),
        facts={"dtypes": {"bfloat16": 40, "float64": 27}, "parameter_bytes": 2 * 40 + 8 * 27},
    ),
    "complex": Case(
        Complex, lambda: rows(4), 15, 4 * dense(4, 3), facts={"dtypes": {"complex64": 15}, "parameter_bytes": 8 * 15}
    ),
    "sparse input": Case(
        SparseInput,
        lambda: [(rand(6, 4), torch.eye(6).to_sparse(), wanted())] * 2,
        parameters=15,
        flops=dense(4, 3) + 2 * 6 * 3,
    ),
    "sparse gradient": Case(
        SparseGradient, lambda: [(torch.arange(12).view(6, 2), wanted())] * 2, 200 + 15, dense(4, 3)
    ),
    "sparse parameter": Case(SparseParameter, lambda: rows(4), 16 + 15, dense(4, 3) + 2 * 4 * 6),
    "integer parameter": Case(
        IntegerParameter, lambda: rows(4), 19, dense(4, 3), facts={"trainable": 15, "parameter_bytes": 4 * 8 + 60}
    ),
    "quantised to int8": Case(
        static,
        images,
        parameters=0,
        flops=CONV + dense(4, 3),
        facts={"packed": 4 * 18 + 4 + 12 + 3, "packed_bytes": 4 * 18 + 4 * 4 + 12 + 3 * 4},
        absent=NOTHING_TRAINABLE,
    ),
    "observed before quantisation": Case(observed, images, 76 + 15, CONV + dense(4, 3)),
    "quantised dynamically": Case(
        dynamic,
        lambda: rows(7, 4),
        parameters=0,
        flops=2 * 42 * 20 * 9 + dense(5, 3),
        absent=NOTHING_TRAINABLE,
        rows=("rnn", "fc"),
    ),
    "regression to float64 targets": Case(
        lambda: Cast(torch.float64),
        lambda: [(rand(6, 4).double(), rand(6, 3).double())] * 2,
        67,
        dense(4, 8) + dense(8, 3),
        loss=F.mse_loss,
    ),
}
