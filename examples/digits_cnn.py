"""Train a small CNN with a loop of your own on scikit-learn's digits, log it, and write a report about it.

    python examples/digits_cnn.py -o digits.html

``reportgen.fit`` would do the loop; here it is written out, and a monitor watches it.
"""

import argparse

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen

parser = argparse.ArgumentParser(description="Train a small CNN on scikit-learn's digits and write a report about it.")
parser.add_argument("--epochs", type=int, default=10)
parser.add_argument("-o", "--output", default="digits.html", help="the suffix chooses: .html .pdf .json .md")


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.norm1, self.relu1 = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()
        self.conv2, self.norm2, self.relu2 = nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.out = nn.Linear(32 * 4 * 4, 10)

    def forward(self, x):  # (B, 1, 8, 8)
        x = self.relu1(self.norm1(self.conv1(x)))  # (B, 16, 8, 8)
        x = self.pool(self.relu2(self.norm2(self.conv2(x))))  # (B, 32, 4, 4)
        return self.out(x.flatten(1))  # (B, 10), logits: the loss applies the softmax


if __name__ == "__main__":
    args = parser.parse_args()
    torch.manual_seed(0)

    table = load_digits()
    images = (torch.as_tensor(table.images).float().unsqueeze(1) - 4.9) / 6.0  # (1797, 1, 8, 8), about unit scale
    train, val = train_test_split(range(len(images)), test_size=0.2, random_state=0, stratify=table.target)
    labels = torch.as_tensor(table.target)
    train_loader = DataLoader(TensorDataset(images[train], labels[train]), batch_size=32, shuffle=True)
    val_loader = DataLoader(TensorDataset(images[val], labels[val]), batch_size=32)

    model, loss = CNN(), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    names = [str(digit) for digit in range(10)]
    options = reportgen.Options(title="Digits, a small CNN", class_names=names)
    monitor = reportgen.Monitor(model, optimizer, loss=loss, options=options)
    with monitor:
        for epoch in monitor.epochs(range(1, args.epochs + 1)):
            model.train()
            for x, y in monitor.batches(train_loader):
                optimizer.zero_grad()
                value = loss(model(x), y)
                value.backward()
                optimizer.step()
                monitor.log(train_loss=value)
            model.eval()
            with torch.no_grad():
                correct = sum(int((model(x).argmax(1) == y).sum()) for x, y in val_loader)
                val_loss = sum(loss(model(x), y).item() * len(x) for x, y in val_loader) / len(val)
            monitor.log(epoch=epoch, val_loss=val_loss, val_accuracy=correct / len(val))

    report = monitor.report(val_loader, train_data=train_loader)
    reportgen.write(report, args.output)
    for diagnosis in report.diagnoses:
        print(f"{diagnosis.severity}: {diagnosis.cause} ({diagnosis.subject})")
    print(f"The report is in {args.output}")
