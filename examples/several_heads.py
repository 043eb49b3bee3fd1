"""A model of three heads on dict batches: a report that scores each head, and by the site that a sample comes from."""

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import reportgen


class Readings(Dataset):
    """Eight sensors; what the device is, how hot it gets, and which of three faults it has. One site measures badly."""

    def __init__(self, n: int, seed: int) -> None:
        random = torch.Generator().manual_seed(seed)
        self.x = torch.randn(n, 8, generator=random)
        self.site = torch.randint(3, (n,), generator=random)
        self.kind = self.x[:, :4].argmax(1)
        self.heat = 20 + 5 * self.x[:, 4:5] - 3 * self.x[:, 5:6]
        self.faults = (self.x[:, 5:] > torch.tensor([0.5, 1.0, 0.0])).float()
        self.x += (self.site == 2)[:, None] * torch.randn(n, 8, generator=random)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> dict:
        target = {"kind": self.kind[i], "heat": self.heat[i], "faults": self.faults[i]}
        return {"x": self.x[i], "target": target, "site": "ABC"[int(self.site[i])]}


class Device(nn.Module):
    """One body, three heads, each named as its target."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.kind, self.heat, self.faults = nn.Linear(64, 4), nn.Linear(64, 1), nn.Linear(64, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = self.body(x)
        return {"kind": self.kind(h), "heat": self.heat(h), "faults": self.faults(h)}


def loss(output: dict[str, Tensor], target: dict[str, Tensor]) -> Tensor:
    kind = nn.functional.cross_entropy(output["kind"], target["kind"])
    heat = nn.functional.mse_loss(output["heat"], target["heat"]) / 30
    return kind + heat + nn.functional.binary_cross_entropy_with_logits(output["faults"], target["faults"])


torch.manual_seed(0)
train = DataLoader(Readings(4000, seed=1), 64, shuffle=True)
val = DataLoader(Readings(1000, seed=2), 100)
model = Device()
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
for _ in range(8):
    for batch in train:
        optimizer.zero_grad()
        loss(model(batch["x"]), batch["target"]).backward()
        optimizer.step()

# words in a batch group its samples by themselves; slices=["..."] names entries that are numbers
options = reportgen.Options(
    title="Three heads",
    task={"kind": "multiclass", "heat": "regression", "faults": "multilabel"},  # may be left out
    inference_budget=2.0,  # seconds for timing forward passes
    export_budget=60.0,  # does torch.export work, and do outputs agree?
)
report = reportgen.examine(model, val, train_data=train, loss=loss, optimizer=optimizer, options=options)
reportgen.write(report, "several_heads.html")
for name, head in report.evaluation.heads.items():
    score, worst = (
        head.scores[0],
        min(head.slices, key=lambda s: s.score if head.slice_score == "accuracy" else -s.score),
    )
    print(f"{name}: {score.name} {score.value:.3f} [{score.low:.3f}, {score.high:.3f}], worst at site {worst.value}")
