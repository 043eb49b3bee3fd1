"""What ``reportgen.fit`` costs beside the plainest loop over the same batches, one thread.

python -m tests.benchmarks.fit
"""

from __future__ import annotations

import copy

import torch
from torch import nn

import reportgen
from reportgen.subject.demos import DigitsCNN, IrisMLP

from .pairs import ratio, show


def compare(name: str, model: nn.Module, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
    loss = nn.CrossEntropyLoss()

    def ours() -> None:
        net = copy.deepcopy(model)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        reportgen.fit(net, batches, loss=loss, optimizer=optimizer, epochs=2, progress=False)

    def bare() -> None:
        net = copy.deepcopy(model).train()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        for _ in range(2):
            for x, y in batches:
                optimizer.zero_grad()
                loss(net(x), y).backward()
                optimizer.step()

    show(f"fit / bare loop: {name}", ratio(ours, bare, pairs=7))


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images = [(torch.randn(32, 1, 8, 8), torch.randint(10, (32,))) for _ in range(60)]
    rows = [(torch.randn(16, 4), torch.randint(3, (16,))) for _ in range(300)]
    compare("digits CNN, batch 32", DigitsCNN(), images)
    compare("iris MLP, batch 16", IrisMLP(), rows)


if __name__ == "__main__":
    main()
