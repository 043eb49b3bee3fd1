"""Your own model and your own loop, and a report at the end."""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen

x = torch.randn(2000, 2)
y = (x.square().sum(1) < 1.4).long()  # inside or outside a circle
train, val = (
    DataLoader(TensorDataset(x[:1600], y[:1600]), 32, shuffle=True),
    DataLoader(TensorDataset(x[1600:], y[1600:]), 50),
)

model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
loss, optimizer = nn.CrossEntropyLoss(), torch.optim.Adam(model.parameters(), lr=1e-3)
for _ in range(10):
    for inputs, targets in train:
        optimizer.zero_grad()
        loss(model(inputs), targets).backward()
        optimizer.step()

report = reportgen.examine(model, val, train_data=train, loss=loss, optimizer=optimizer)
reportgen.write(report, "quickstart.html")
for diagnosis in report.diagnoses:
    print(diagnosis.severity, diagnosis.cause, diagnosis.subject, diagnosis.advice, sep=" | ")
