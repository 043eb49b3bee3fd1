"""Train a small CNN on MNIST and write a report about it.

    python examples/mnist_cnn.py --download
    python examples/mnist_cnn.py --root ~/datasets --epochs 3 -o mnist.pdf

The official test split serves as the validation data.
"""

import argparse
import sys

import torch
from torch import nn
from torch.utils.data import DataLoader

import reportgen
from reportgen.subject import vision

vision.prepare()  # only needed where torch and torchvision were built for different devices; harmless elsewhere
from torchvision import datasets, transforms  # noqa: E402

parser = argparse.ArgumentParser(description="Train a small CNN on MNIST and write a report about it.")
parser.add_argument("--root", default="data", help="folder that holds MNIST/raw (default: %(default)s)")
parser.add_argument("--download", action="store_true", help="fetch the data into it first")
parser.add_argument("--epochs", type=int, default=3)
parser.add_argument("-o", "--output", default="mnist.html", help="the suffix chooses: .html .pdf .json .md")


class CNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.relu1, self.relu2, self.relu3 = nn.ReLU(), nn.ReLU(), nn.ReLU()
        self.fc1 = nn.Linear(64 * 7 * 7, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x):  # (B, 1, 28, 28)
        x = self.pool(self.relu1(self.conv1(x)))  # (B, 32, 14, 14)
        x = self.pool(self.relu2(self.conv2(x)))  # (B, 64, 7, 7)
        x = self.relu3(self.fc1(x.flatten(1)))  # (B, 128)
        return self.fc2(x)  # (B, 10), logits: the loss applies the softmax


if __name__ == "__main__":
    args = parser.parse_args()
    torch.manual_seed(0)

    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    try:
        train_set = datasets.MNIST(args.root, train=True, transform=transform, download=args.download)
        val_set = datasets.MNIST(args.root, train=False, transform=transform)
    except RuntimeError as error:
        sys.exit(f"No MNIST below {args.root!r} ({error}). Name the folder that holds MNIST/raw, or add --download.")
    train_loader = DataLoader(train_set, batch_size=128, shuffle=True)
    val_loader = DataLoader(val_set, batch_size=512)

    model = CNN().to("cuda" if torch.cuda.is_available() else "cpu")
    loss = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    history = reportgen.fit(model, train_loader, val_loader, loss=loss, optimizer=optimizer, epochs=args.epochs)

    report = reportgen.examine(
        model,
        val_loader,
        train_data=train_loader,
        loss=loss,
        optimizer=optimizer,
        history=history,
        options=reportgen.Options(title="Small CNN on MNIST", class_names=[str(digit) for digit in range(10)]),
    )
    reportgen.write(report, args.output)
    for diagnosis in report.diagnoses:
        print(f"{diagnosis.severity}: {diagnosis.cause} ({diagnosis.subject})")
    print(f"The report is in {args.output}")
