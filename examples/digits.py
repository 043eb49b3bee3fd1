"""What ``digits.toml`` names: a small CNN, and scikit-learn's 1,797 handwritten digits of 8 × 8 pixels."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def build(width: int = 16) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * width, 10),
    )


def tensors() -> tuple[torch.Tensor, torch.Tensor]:
    table = load_digits()
    images = torch.as_tensor(table.images, dtype=torch.float32).unsqueeze(1)  # (1797, 1, 8, 8), 0 to 16
    return (images - 4.9) / 6.0, torch.as_tensor(table.target)


def training(batch_size: int = 32) -> DataLoader:
    images, labels = tensors()
    held_out = torch.arange(len(labels)) % 5 == 0
    return DataLoader(TensorDataset(images[~held_out], labels[~held_out]), batch_size, shuffle=True)


def validation() -> DataLoader:
    images, labels = tensors()
    held_out = torch.arange(len(labels)) % 5 == 0
    return DataLoader(TensorDataset(images[held_out], labels[held_out]), 128)
