"""Train a 4-10-3 net on Fisher's irises and write a report about it.

python examples/iris_mlp.py -o iris.html
"""

import argparse

import torch
from sklearn.datasets import load_iris
from sklearn.model_selection import train_test_split
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import reportgen

parser = argparse.ArgumentParser(description="Train a 4-10-3 net on Fisher's irises and write a report about it.")
parser.add_argument("--epochs", type=int, default=60)
parser.add_argument("-o", "--output", default="iris.html", help="the suffix chooses: .html .pdf .json .md")


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(4, 10)
        self.relu = nn.ReLU()
        self.out = nn.Linear(10, 3)

    def forward(self, x):  # (B, 4)
        return self.out(self.relu(self.hidden(x)))  # (B, 3), logits: the loss applies the softmax


if __name__ == "__main__":
    args = parser.parse_args()
    torch.manual_seed(0)

    table = load_iris()
    split = train_test_split(table.data, table.target, test_size=0.2, random_state=0, stratify=table.target)
    x_train, x_val, y_train, y_val = (torch.as_tensor(part) for part in split)  # (120, 4), (30, 4), (120,), (30,)
    mean, std = x_train.mean(0), x_train.std(0)  # of the training part only
    x_train, x_val = ((x_train - mean) / std).float(), ((x_val - mean) / std).float()
    train_loader = DataLoader(TensorDataset(x_train, y_train), batch_size=16, shuffle=True)
    val_loader = DataLoader(TensorDataset(x_val, y_val), batch_size=16)

    model, loss = MLP(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    history = reportgen.fit(model, train_loader, val_loader, loss=loss, optimizer=optimizer, epochs=args.epochs)

    report = reportgen.examine(
        model,
        val_loader,
        train_data=train_loader,
        loss=loss,
        optimizer=optimizer,
        history=history,
        options=reportgen.Options(title="Iris, a 4-10-3 net", class_names=list(map(str, table.target_names))),
    )
    reportgen.write(report, args.output)
    for diagnosis in report.diagnoses:
        print(f"{diagnosis.severity}: {diagnosis.cause} ({diagnosis.subject})")
    print(f"The report is in {args.output}")
