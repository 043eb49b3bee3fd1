"""The examples run as they stand, on tiny files in the formats that torchvision reads."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import reportgen

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]

# CIFAR-10 checks the MD5 of its files, which tiny ones cannot meet; everything else about it stays as it is
WITHOUT_CHECKSUMS = """
import runpy, sys
from reportgen.subject import vision
vision.prepare()
from torchvision.datasets import CIFAR10
CIFAR10.train_list = [[name, None] for name, _ in CIFAR10.train_list]
CIFAR10.test_list = [[name, None] for name, _ in CIFAR10.test_list]
CIFAR10.meta = {**CIFAR10.meta, "md5": None}
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


def images_of(labels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Noise with a bright block whose place depends on the label, so that there is something to learn."""
    images = np.random.default_rng(0).integers(0, 60, (len(labels), *shape), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[..., 4 * (label // 4) + 4 : 4 * (label // 4) + 10, 5 * (label % 4) + 2 : 5 * (label % 4) + 8] += 180
    return images


def write_mnist(root: Path, n_train: int, n_test: int) -> None:
    """Write the four idx files: magic, sizes as big-endian numbers, bytes."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for split, n in (("train", n_train), ("t10k", n_test)):
        labels = np.arange(n, dtype=np.uint8) % 10
        images = images_of(labels, (28, 28))
        (raw / f"{split}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 0x803, n, 28, 28) + images.tobytes())
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 0x801, n) + labels.tobytes())


def write_cifar10(root: Path, n_batch: int) -> None:
    """Write the six pickled batches, rows of 3 x 32 x 32 bytes, and the names of the classes."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        labels = np.arange(n_batch) % 10
        images = images_of(labels, (3, 32, 32)).reshape(n_batch, -1)
        (folder / name).write_bytes(pickle.dumps({"data": images, "labels": labels.tolist()}, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": NAMES}, protocol=2))


@pytest.mark.slow
def test_mnist_cnn(tmp_path: Path) -> None:
    write_mnist(tmp_path / "data", n_train=600, n_test=200)
    done = run(str(EXAMPLES / "mnist_cnn.py"), "--epochs", "2", "-o", "mnist.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "The report is in mnist.json" in done.stdout
    report = reportgen.read(tmp_path / "mnist.json")
    assert report.title == "Small CNN on MNIST"
    assert report.training is not None
    assert report.training.epochs == 2
    assert report.evaluation is not None
    assert report.evaluation.n_samples == 200
    assert report.evaluation.classification is not None
    assert report.evaluation.classification.classes == list("0123456789")


@pytest.mark.slow
def test_cifar10_resnet18(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "data", n_batch=20)
    script = str(EXAMPLES / "cifar10_resnet18.py")
    done = run("-c", WITHOUT_CHECKSUMS, script, "--epochs", "1", "--workers", "0", "-o", "cifar.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = reportgen.read(tmp_path / "cifar.json")
    assert report.evaluation is not None
    assert report.evaluation.classification is not None
    assert report.evaluation.classification.classes == NAMES
    assert report.architecture is not None
    assert (
        report.architecture.parameters == 11_173_962
    )  # 11,689,512 − 513,000 + 5,130 (ten classes) − 9,408 + 1,728 (3×3 stem)


@pytest.mark.slow
@pytest.mark.parametrize("script", ["mnist_cnn.py", "cifar10_resnet18.py"])
def test_missing_data_is_one_line(tmp_path: Path, script: str) -> None:
    done = run(str(EXAMPLES / script), "--root", "nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("No ")
    assert "--download" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "arguments", "output"),
    [
        ("quickstart.py", [], "quickstart.html"),
        ("several_heads.py", [], "several_heads.html"),
        ("iris_mlp.py", ["--epochs", "20", "-o", "iris.json"], "iris.json"),
        ("digits_cnn.py", ["--epochs", "5", "-o", "digits.json"], "digits.json"),
    ],
)
def test_examples_that_need_no_files(script: str, arguments: list[str], output: str, tmp_path: Path) -> None:
    done = run(str(EXAMPLES / script), *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stdout
    assert "error" not in done.stdout
    assert (tmp_path / output).stat().st_size > 10_000
    if output.endswith(".json"):
        report = reportgen.read(tmp_path / output)
        assert report.training is not None
        assert report.evaluation is not None


@pytest.mark.slow
def test_a_training_from_a_settings_file(tmp_path: Path) -> None:
    for name in ("digits.toml", "digits.py"):
        (tmp_path / name).write_bytes((EXAMPLES / name).read_bytes())
    done = run("-m", "reportgen", "train", "digits.toml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = reportgen.read(tmp_path / "digits.json")
    assert report.evaluation is not None
    assert report.evaluation.classification is not None
    table = report.evaluation.classification.confusion
    assert sum(table[i][i] for i in range(10)) > 0.85 * sum(map(sum, table))
    again = ("-m", "reportgen", "examine", "digits.toml", "--checkpoint", "digits-run/best.pt")
    assert run(*again, cwd=tmp_path).returncode == 0
    assert run("-m", "reportgen", "check", "digits.json", "--fail-on", "error", cwd=tmp_path).returncode == 0
