"""Train torchvision's ResNet-18, adapted to 32x32 images, on CIFAR-10 and write a report about it.

    python examples/cifar10_resnet18.py --download
    python examples/cifar10_resnet18.py --root ~/datasets --epochs 30 -o cifar10.pdf

The official test split serves as the validation data. Meant for a GPU: on a CPU an epoch takes many minutes.
"""

import argparse
import sys

import torch
from torch import nn
from torch.utils.data import DataLoader

import reportgen
from reportgen.subject import vision

vision.prepare()  # only needed where torch and torchvision were built for different devices; harmless elsewhere
from torchvision import datasets, models, transforms  # noqa: E402

parser = argparse.ArgumentParser(description="Train ResNet-18 on CIFAR-10 and write a report about it.")
parser.add_argument("--root", default="data", help="folder that holds cifar-10-batches-py (default: %(default)s)")
parser.add_argument("--download", action="store_true", help="fetch the data into it first")
parser.add_argument("--epochs", type=int, default=30)
parser.add_argument("--workers", type=int, default=2, help="processes that prepare batches (default: %(default)s)")
parser.add_argument("-o", "--output", default="cifar10.html", help="the suffix chooses: .html .pdf .json .md")


def resnet18_for_32x32():
    model = models.resnet18(num_classes=10)
    # The stem is made for 224x224: stride 2 and a pooling that would leave 8x8 of a 32x32 image.
    model.conv1 = nn.Conv2d(3, 64, kernel_size=3, stride=1, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model  # (B, 3, 32, 32) -> layer1 (B, 64, 32, 32) -> ... -> layer4 (B, 512, 4, 4) -> (B, 10)


if __name__ == "__main__":
    args = parser.parse_args()
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"

    normalize = transforms.Normalize(mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616))
    plain = transforms.Compose([transforms.ToTensor(), normalize])
    augmented = transforms.Compose([transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip(), plain])
    try:
        train_set = datasets.CIFAR10(args.root, train=True, transform=augmented, download=args.download)
        val_set = datasets.CIFAR10(args.root, train=False, transform=plain)
    except RuntimeError as error:
        sys.exit(f"No CIFAR-10 below {args.root!r} ({error}). Name the folder that holds it, or add --download.")
    train_loader = DataLoader(train_set, batch_size=128, shuffle=True, num_workers=args.workers)
    val_loader = DataLoader(val_set, batch_size=512, num_workers=args.workers)

    model = resnet18_for_32x32().to(device)
    loss = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs)  # one step an epoch
    history = reportgen.fit(
        model, train_loader, val_loader, loss=loss, optimizer=optimizer, epochs=args.epochs, scheduler=scheduler
    )

    report = reportgen.examine(
        model,
        val_loader,
        train_data=train_loader,
        loss=loss,
        optimizer=optimizer,
        history=history,
        options=reportgen.Options(title="ResNet-18 on CIFAR-10", class_names=train_set.classes),
    )
    reportgen.write(report, args.output)
    for diagnosis in report.diagnoses:
        print(f"{diagnosis.severity}: {diagnosis.cause} ({diagnosis.subject})")
    print(f"The report is in {args.output}")
