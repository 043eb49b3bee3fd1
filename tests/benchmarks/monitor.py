"""What a Monitor costs beside the bare training loop, and what TensorBoard's histograms cost; one thread.

python -m tests.benchmarks.monitor [mlp transformer resnet18]

Both loops run in the same process, in turn. TensorBoard, where it is installed, is given every parameter and its
gradient with ``add_histogram`` in the steps whose histograms the monitor takes, and the outputs of the same layers.
"""

from __future__ import annotations

import copy
import sys
import tempfile

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

import reportgen
from reportgen.probe.layers import layers_of
from reportgen.subject.model import load_model
from reportgen.training.schedule import PORTRAITS, Due

from .pairs import ratio, show

Batches = list[tuple[Tensor, Tensor]]


def mlp() -> tuple[nn.Module, Batches]:
    """A tiny MLP: 4-64-64-3, batch 32, 5000 steps of about 0.2 ms."""
    model = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))
    return model, [(torch.randn(32, 4), torch.randint(3, (32,))) for _ in range(100)] * 50


class Transformer(nn.Module):
    """Four blocks of width 128 over 64 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(256, 128)
        block = nn.TransformerEncoderLayer(128, 4, 512, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, 4, enable_nested_tensor=False)
        self.head = nn.Linear(128, 256)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.embedding(x))).mean(1)  # type: ignore[no-any-return]


def transformer() -> tuple[nn.Module, Batches]:
    """Batch 16, 150 steps of about 0.2 s."""
    return Transformer(), [(torch.randint(256, (16, 64)), torch.randint(256, (16,))) for _ in range(10)] * 15


def resnet18() -> tuple[nn.Module, Batches]:
    """ResNet-18 on 32x32 images, batch 32, 100 steps."""
    return load_model("torchvision:resnet18").train(), [
        (torch.randn(32, 3, 32, 32), torch.randint(10, (32,))) for _ in range(10)
    ] * 10


def bare(model: nn.Module, batches: Batches) -> None:
    model = copy.deepcopy(model)
    loss_fn, optimizer = nn.CrossEntropyLoss(), torch.optim.AdamW(model.parameters(), lr=1e-4)
    for x, y in batches:
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()


def monitored(model: nn.Module, batches: Batches) -> None:
    model = copy.deepcopy(model)
    loss_fn, optimizer = nn.CrossEntropyLoss(), torch.optim.AdamW(model.parameters(), lr=1e-4)
    with (
        tempfile.TemporaryDirectory() as folder,
        reportgen.Monitor(model, optimizer, log=f"{folder}/run.jsonl", progress=False) as monitor,
    ):
        for x, y in batches:
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            monitor.log(train_loss=loss)
        monitor.log(epoch=1)


def boarded(model: nn.Module, batches: Batches) -> None:
    """The same loop, with TensorBoard's histograms at the monitor's schedule."""
    from torch.utils.tensorboard import SummaryWriter

    model = copy.deepcopy(model)
    loss_fn, optimizer, due = nn.CrossEntropyLoss(), torch.optim.AdamW(model.parameters(), lr=1e-4), Due(PORTRAITS)
    with tempfile.TemporaryDirectory() as folder:
        writer = SummaryWriter(folder)
        for step, (x, y) in enumerate(batches, 1):
            outputs: dict[str, Tensor] = {}
            wanted = due.at(step)
            handles = [keep(m, name, outputs) for name, m in (layers_of(model).items() if wanted else ())]
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
            writer.add_scalar("train_loss", loss.detach(), step)
            for handle in handles:
                handle.remove()
            if wanted:
                for name, p in model.named_parameters():
                    writer.add_histogram(name, p.detach(), step)
                    writer.add_histogram(f"{name}.grad", p.grad, step)
                for name, out in outputs.items():
                    if isinstance(out, Tensor):
                        writer.add_histogram(f"{name}.output", out.detach(), step)
        writer.close()


def keep(module: nn.Module, name: str, outputs: dict[str, Tensor]) -> RemovableHandle:
    return module.register_forward_hook(lambda module, args, output: outputs.__setitem__(name, output))


def has_tensorboard() -> bool:
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError:
        return False
    return True


def compare(name: str, model: nn.Module, batches: Batches, pairs: int = 5) -> None:
    ways = {"Monitor": monitored} | ({"add_histogram": boarded} if has_tensorboard() else {})
    for way, run in ways.items():
        figures = ratio(lambda: run(model, batches), lambda: bare(model, batches), pairs)  # noqa: B023
        show(f"{way} / bare loop: {name}", figures)


def main() -> None:
    torch.set_num_threads(1)
    for make in (mlp, transformer, resnet18):
        if sys.argv[1:] and make.__name__ not in sys.argv[1:]:
            continue
        torch.manual_seed(0)
        model, batches = make()
        compare(make.__name__, model, batches)


if __name__ == "__main__":
    main()
