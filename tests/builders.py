"""Reports made by hand: the smallest, a full classifier, a regressor, a huge one, a hostile one. No torch needed.

``page`` builds what is shown of one, once for all tests that only look at it.
"""

from __future__ import annotations

import math
import random
import struct
from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
from msgspec.structs import replace

from reportgen.document.codec import FORMAT_VERSION
from reportgen.document.facts import (
    ActivationFacts,
    ActivationRow,
    ArchitectureFacts,
    BufferRow,
    ChannelFacts,
    Classification,
    Coverage,
    DatasetFacts,
    Diagnosis,
    EvaluationFacts,
    FeatureStats,
    Finding,
    GradientFacts,
    GradientRow,
    LayerRow,
    Meta,
    NormRow,
    OutputFacts,
    Regression,
    Report,
    Severity,
    SubjectFacts,
    WeightFacts,
    WeightRow,
)
from reportgen.document.history import (
    Bars,
    Event,
    HistogramRun,
    History,
    LayerRun,
    LoopFacts,
    OptimizerRun,
    ParameterRun,
    Series,
    Trace,
)
from reportgen.document.pictures import (
    Display,
    GenerationFacts,
    KernelSheet,
    LeftOut,
    MapSheet,
    PictureFacts,
    Projection,
    SampleView,
)
from reportgen.document.stats import BIN_SHIFT, Histogram, TensorStats
from reportgen.page.blocks import Page
from reportgen.page.build import build
from reportgen.probe.pictures.encode import of_colours, of_levels, sheet
from reportgen.render.write import render

HOSTILE = "</script><img src=x onerror=alert(1)>"
HOSTILE_NAMES = (
    HOSTILE,
    "tab\tnew\nline\rreturn",
    "bell\x07 escape\x1b[31m nul\x00",
    "\u202egnp.exe\u202c",
    "zero\u200bwidth\ufeff",
    "a|b`c`*d*_e_[f](javascript:alert(1))",
    "@everyone see https://example.org/x #1",
    "模型.卷积层",
    "{{ 7*7 }}{% raw %}$x^2$",
    "x" * 300,
    '"quoted" onmouseover="alert(1)"',
)


def stats(values: Sequence[float], scale: int = 1) -> TensorStats:
    """Count values as the probe does; ``scale`` pretends that each stands for several."""
    finite = [v for v in values if math.isfinite(v)]
    mean = math.fsum(finite) / len(finite) if finite else 0.0
    bins = Counter(struct.unpack("<I", struct.pack("<f", v))[0] >> BIN_SHIFT for v in finite)
    return TensorStats(
        count=len(values) * scale,
        nan=sum(math.isnan(v) for v in values) * scale,
        pos_inf=sum(v == math.inf for v in values) * scale,
        neg_inf=sum(v == -math.inf for v in values) * scale,
        zeros=sum(v == 0 for v in finite) * scale,
        sum=mean * len(finite) * scale,
        m2=math.fsum((v - mean) ** 2 for v in finite) * scale,
        min=min(finite, default=None),
        max=max(finite, default=None),
        histogram=Histogram(bins=sorted(bins), counts=[bins[b] * scale for b in sorted(bins)]),
    )


def normal(rng: random.Random, mean: float, std: float, count: int, n: int = 300) -> TensorStats:
    return stats([rng.gauss(mean, std) for i in range(n)], max(1, count // n))


def smallest() -> Report:
    """Nothing but a name."""
    return Report(format_version=FORMAT_VERSION, title="", meta=Meta(), subject=SubjectFacts(name="net", kind="model"))


@cache
def _blocks(n_blocks: int) -> list[tuple[str, str, list[int]]]:
    """Return (name, kind, weight shape) of a network like a small ResNet."""
    layers: list[tuple[str, str, list[int]]] = [("conv1", "Conv2d", [64, 3, 7, 7]), ("bn1", "BatchNorm2d", [64])]
    for b in range(n_blocks):
        stage, width = b * 4 // n_blocks + 1, 64 << (b * 4 // n_blocks)
        prefix = f"layer{stage}.{b}"
        layers += [
            (f"{prefix}.conv1", "Conv2d", [width, width, 3, 3]),
            (f"{prefix}.bn1", "BatchNorm2d", [width]),
            (f"{prefix}.relu", "ReLU", []),
            (f"{prefix}.conv2", "Conv2d", [width, width, 3, 3]),
            (f"{prefix}.bn2", "BatchNorm2d", [width]),
        ]
    return [*layers, ("fc", "Linear", [10, 512])]


def architecture(n_blocks: int) -> ArchitectureFacts:
    layers = _blocks(n_blocks)
    rows = [LayerRow(name="", kind="ResNet", depth=0, is_leaf=False, parameters=0, trainable=0, calls=1, flops=10**9)]
    seen: set[str] = set()
    for name, kind, shape in layers:
        parent = name.rpartition(".")[0]
        if parent and parent not in seen:
            seen.add(parent)
            rows.append(LayerRow(name=parent, kind="Block", depth=1, is_leaf=False, parameters=0, trainable=0, calls=1))
        n = math.prod(shape) + (shape[0] if kind != "Conv2d" and shape else 0) if shape else 0
        rows.append(
            LayerRow(
                name=name,
                kind=kind,
                depth=name.count(".") + (0 if "." in name else 1),
                is_leaf=True,
                parameters=n,
                trainable=n,
                input_shape="32 × 64 × 56 × 56",
                output_shape="32 × 64 × 56 × 56",
                calls=1,
                flops=n * 2 * 56 * 56,
            )
        )
    total = sum(r.parameters for r in rows)
    return ArchitectureFacts(
        rows=rows,
        parameters=total,
        trainable=total,
        buffers=9_600,
        parameter_bytes=4 * total,
        buffer_bytes=4 * 9_600,
        dtypes={"float32": total},
        batch_size=32,
        flops=58_300_000_000,
        mult_adds=29_100_000_000,
        activation_bytes=730_000_000,
        uncounted=["aten::grid_sampler"],
    )


def weights(rng: random.Random, n_blocks: int) -> WeightFacts:
    rows: list[WeightRow] = []
    buffers: list[BufferRow] = []
    for name, kind, shape in _blocks(n_blocks):
        if not shape:
            continue
        count, norm = math.prod(shape), kind == "BatchNorm2d"
        spread = 1 / math.sqrt(count / shape[0])
        rows.append(
            WeightRow(
                name=f"{name}.weight",
                module=kind,
                shape=shape,
                dtype="float32",
                role="norm" if norm else "weight",
                trainable=True,
                fan_in=count // shape[0],
                at_default_init=False,
                stats=normal(rng, 1.0 if norm else 0.0, 0.1 if norm else spread, count),
            )
        )
        if kind != "Conv2d":
            stat = normal(rng, 0, 0.05, shape[0])
            row = WeightRow(
                name=f"{name}.bias",
                module=kind,
                shape=shape[:1],
                dtype="float32",
                role="bias",
                trainable=True,
                stats=stat,
            )
            rows.append(row)
        if norm:
            stat = normal(rng, 0, 0.3, shape[0])
            buffers.append(BufferRow(name=f"{name}.running_mean", shape=shape, dtype="float32", stats=stat))
    return WeightFacts(rows=rows, buffers=buffers)


def activations(rng: random.Random, n_blocks: int) -> ActivationFacts:
    rows, norms = [], []
    for order, (name, kind, shape) in enumerate(_blocks(n_blocks)):
        relu, n = kind == "ReLU", shape[0] if shape else 64
        values = [rng.gauss(0, 1.0 - 0.4 * order / len(_blocks(n_blocks))) for i in range(300)]
        silent = 41 if name == "layer3.5.relu" else 1 if relu else 0
        channels = [
            ChannelFacts(call=0, n_channels=n, n_samples=512, n_batches=16, silent=silent, constant=0, fired_share=0.6)
        ]
        seen = stats([max(v, 0.0) for v in values] if relu else values, 10_000)
        rows.append(
            ActivationRow(
                name=name,
                kind=kind,
                order=order,
                calls=16,
                shape="32 × 64 × 56 × 56",
                stats=seen,
                channels=channels,
                rectifier=relu,
            )
        )
        if kind == "BatchNorm2d":
            norms.append(
                NormRow(name=name, n_channels=n, n_samples=512, batches_tracked=4690, mean_gap=0.07, log_var_gap=0.11)
            )
    return ActivationFacts(
        mode="eval", n_batches=16, n_samples=512, rows=rows, norms=norms, exact=["mean", "std", "min", "max", "zeros"]
    )


def gradients(rng: random.Random, n_blocks: int) -> GradientFacts:
    rows: list[GradientRow] = []
    for order, (name, kind, shape) in enumerate(_blocks(n_blocks)):
        for part, dims in (("weight", shape), ("bias", shape[:1])):
            if not dims or (part == "bias" and kind == "Conv2d"):
                continue
            size = 10 ** (-5 + 2.5 * order / len(_blocks(n_blocks)))
            rows.append(
                GradientRow(
                    name=f"{name}.{part}",
                    module=kind,
                    order=order,
                    is_matrix=len(dims) >= 2,
                    requires_grad=True,
                    n_none=0,
                    n_zero=0,
                    stats=normal(rng, 0, size, math.prod(dims)),
                )
            )
    return GradientFacts(
        loss="CrossEntropyLoss",
        mode="train",
        n_batches=4,
        n_samples=128,
        rows=rows,
        loss_values=[0.31, 0.28, 0.35, 0.3],
    )


def history() -> History:
    epochs = [float(e) for e in range(1, 31)]
    steps = [float(s) for s in range(0, 14_070, 30)]
    rng = random.Random(3)
    return History(
        series=[
            Series(name="train_loss", axis="epoch", x=epochs, y=[2.2 * math.exp(-e / 7) + 0.02 for e in epochs], n=30),
            Series(
                name="val_loss",
                axis="epoch",
                x=epochs,
                y=[2.2 * math.exp(-e / 6) + 0.28 + 0.011 * max(e - 12, 0) for e in epochs],
                n=30,
            ),
            Series(
                name="val_accuracy", axis="epoch", x=epochs, y=[0.92 - 0.8 * math.exp(-e / 4) for e in epochs], n=30
            ),
            Series(
                name="train_loss",
                axis="step",
                x=steps,
                n=14_070,
                nonfinite=1,
                first_nonfinite=600.0,
                y=[None if s == 600 else 2.3 * math.exp(-s / 3000) + rng.random() * 0.2 for s in steps],
            ),
            Series(
                name="lr", axis="epoch", x=epochs, y=[0.1 * (1 + math.cos(e / 30 * math.pi)) / 2 for e in epochs], n=30
            ),
        ],
        epochs=30,
        steps=14_070,
        batch_size=128,
        seconds=1834.2,
        optimizer="SGD",
        hyperparameters={"lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": False, "scheduler": "cosine"},
    )


def _trace(rng: random.Random, points: int, start: float, end: float) -> Trace:
    x = [float(10 * (i + 1)) for i in range(points)]
    y = [start * (end / start) ** (i / points) * rng.uniform(0.7, 1.4) for i in range(points)]
    return Trace(x=x, y=list(y))


def _bars(rng: random.Random, moment: int, n_bins: int = 32) -> Bars:
    width = 0.1 + 0.02 * moment
    counts = Counter(min(max(int((rng.gauss(0, 0.4) + 1) / 2 * n_bins), 0), n_bins - 1) for _ in range(200))
    return Bars(x=float(10 * moment), low=-width, high=width, counts=[counts[i] for i in range(n_bins)])


def watched(scalars: int = 6, points: int = 200, layers: int = 12, moments: int = 24, seen: int = 50_000) -> History:
    """A run as a monitor records it; ``seen`` values were logged of each scalar, of which ``points`` are kept."""
    rng = random.Random(5)
    x = [float(i * seen // points) for i in range(points)]
    names = [f"val_metric_{i}" for i in range(scalars)]
    noisy = [Series(name=n, axis="step", x=x, y=[rng.lognormvariate(0, 0.4) for _ in x], n=seen) for n in names]
    steps = [
        Series(name="train_loss", axis="step", x=x, y=[2.3 * 0.99**i + rng.random() for i in range(points)], n=seen)
    ]
    steps += [
        Series(
            name=f"learning_rate/{g}",
            axis="step",
            x=x,
            y=[0.1 * 0.5**g * (1 - i / points) for i in range(points)],
            n=seen,
        )
        for g in range(2)
    ]
    steps += [Series(name="gradient_norm", axis="step", x=x, y=[rng.lognormvariate(0, 0.3) for _ in x], n=seen)]
    parameters = [
        ParameterRun(
            name=f"blocks.{i // 4}.branch.{i % 4}.weight",
            module="Linear",
            shape=[64, 64],
            is_matrix=True,
            trainable=i != 1,
            optimizer=None if i == 2 else 0,
            group=i % 2,
            n_steps=seen,
            n_looked=moments,
            n_grad_none=moments if i == 3 else 0,
            moved=rng.random(),
            changed=i not in (1, 2, 3),
            gradient_norm=_trace(rng, moments, 1.0, 0.05),
            update_ratio=_trace(rng, moments, 1e-2, 1e-4),
            decay_share=0.01,
            eps_floor=0.0,
        )
        for i in range(layers)
    ]
    rows = [
        LayerRun(
            name=f"blocks.{i // 4}.branch.{i % 4}",
            kind="ReLU",
            order=i,
            rectifier=True,
            train_calls=moments,
            rms=_trace(rng, moments, 1.0, 2.0),
            silent=_trace(rng, moments, 0.1, 0.4),
        )
        for i in range(layers)
    ]
    histograms = [
        HistogramRun(name=f"{p.name}", part="weight", axis="step", moments=[_bars(rng, m) for m in range(moments)])
        for p in parameters
    ]
    events = [
        Event(kind="text", step=1, detail="first run with the new augmentation"),
        Event(kind="nonfinite", step=700, subject="blocks.0.branch.1", part="activation", detail="train_loss 0.4, 0.5"),
        Event(kind="gap", step=900, epoch=2.0),
    ]
    loop = LoopFacts(
        optimizers=[OptimizerRun(name="AdamW", n_steps=seen, settings={"lr": 0.1}, group_sizes=[8192, 4096])],
        n_backwards_seen=2 * seen,
        declared_accumulation=2,
        backwards_per_step=2.0,
        n_fresh_checked=seen,
        n_clip_checked=seen,
        n_clipped=seen // 10,
        clip_factor=0.8,
        clip_norm=1.0,
        n_train_steps=moments,
        n_eval_validations=8,
        samples_per_second=1234.5,
        wait_share=0.4,
        peak_memory_bytes=3 << 30,
        scaler_first=65536.0,
        scaler_last=32768.0,
        scaler_halvings=1,
    )
    return History(
        series=[*steps, *noisy],
        steps=seen,
        epochs=3,
        source="monitor",
        loop=loop,
        parameters=parameters,
        layers=rows,
        histograms=histograms,
        events=events,
    )


CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def confusion(n: int, rng: random.Random) -> list[list[int]]:
    out = []
    for i in range(n):
        row = [rng.choice((0, 0, 1, 2, 4)) for j in range(n)]
        row[i] = 80 + rng.randrange(15)
        out.append(row)
    return out


def classification(n: int = 10) -> EvaluationFacts:
    matrix = confusion(n, random.Random(5))
    matrix[3][5], matrix[5][3] = 31, 27
    classes = CLASSES if n == 10 else [f"class {i}" for i in range(n)]
    return EvaluationFacts(
        task="multiclass",
        n_samples=sum(map(sum, matrix)),
        loss=0.412,
        outputs=OutputFacts(min=-11.2, max=17.9, row_sum_error=14.1, log_sum_exp_error=17.9, cross_entropy=0.412),
        classification=Classification(classes=classes, confusion=matrix),
    )


def dataset(n: int = 1024) -> DatasetFacts:
    rng = random.Random(8)
    features = [FeatureStats(index=i, stats=normal(rng, 0.1 * i, 1.0, n * 1024)) for i in range(3)]
    return DatasetFacts(
        n_samples=n,
        n_batches=n // 32,
        shape="32 × 3 × 32 × 32",
        dtype="float32",
        features=features,
        integer_valued=False,
        class_counts=[100 + 3 * i for i in range(10)],
        target_dtype="int64",
    )


def _finding(rule: str, severity: Severity, subject: str, limit: dict[str, float], **evidence: float) -> Finding:
    return Finding(
        rule=rule,
        severity=severity,
        subject=subject,
        section=rule.partition("/")[0],
        evidence=evidence,
        threshold=limit,
        detail={"loss": "CrossEntropyLoss"} if rule.startswith("loss") else {},
    )


def diagnoses() -> list[Diagnosis]:
    error, warning, info = Severity.ERROR, Severity.WARNING, Severity.INFO
    dead = [
        _finding("activations/silent", warning, f"layer3.{i}.relu", {"share": 0.5}, share=0.64, channels=64.0)
        for i in range(9)
    ]
    advice = "Lower the learning rate or warm it up; use LeakyReLU or GELU; check that inputs are normalised."
    return [
        Diagnosis(
            cause="overfitting",
            severity=warning,
            subject="model",
            findings=[_finding("training/gap", warning, "val_loss", {"ratio": 2.0}, train=0.05, val=0.49, ratio=9.8)],
            advice="Stop at epoch 12, where the validation loss was lowest; add augmentation or weight decay.",
        ),
        Diagnosis(
            cause="double-softmax",
            severity=error,
            subject="fc",
            findings=[_finding("loss/probabilities", error, "fc", {"row_sum_error": 1e-3}, row_sum_error=1.2e-7)],
            consequences=[_finding("gradients/small", warning, "fc.weight", {"rms": 1e-7}, rms=3e-9), dead[0]],
            advice="Give the loss the raw outputs: remove the softmax before CrossEntropyLoss.",
        ),
        Diagnosis(cause="dead-relu", severity=error, subject="layer3.5.relu", findings=dead, advice=advice),
        Diagnosis(
            cause="frozen-layers",
            severity=info,
            subject="conv1",
            findings=[_finding("weights/frozen", info, "conv1.weight", {}, tensors=1.0)],
        ),
        Diagnosis(
            cause="class-imbalance",
            severity=info,
            subject="model",
            findings=[_finding("dataset/imbalance", info, "model", {}, ratio=1.27)],
        ),
    ]


def pictures(layer: str = "layer1.0.conv1", classes: list[str] | None = None) -> PictureFacts:
    """Return some of every kind of picture."""
    levels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    grey, orange = of_levels(levels % 14), of_colours((levels[..., None] * np.uint8([3, 2, 1])).astype(np.uint8))
    sample = SampleView(place=7, key="00ff", role="reference", picture=grey, heat=orange, target=1.0, prediction=2.0)
    worst = replace(sample, role="worst", place=90, loss=2.5, confidence=0.75, nonfinite=3)
    kernel = KernelSheet(
        layer=layer,
        shape=[64, 3, 7, 7],
        filters=[0, 63],
        columns=2,
        colour=True,
        dead=3,
        dead_shown=[63],
        picture=of_levels(sheet([levels % 14, levels % 7], 2, [False, True])),
    )
    mapped = MapSheet(
        layer=layer,
        kind="Conv2d",
        sample=0,
        n_channels=64,
        size=[16, 16],
        channels=[5, 9],
        columns=2,
        signed=True,
        flat=2,
        flat_shown=[9],
        n_samples=8,
        picture=of_levels(sheet([levels % 5, levels % 3], 2, [False, True])),
    )
    rng = random.Random(3)
    points = [[rng.randrange(1000) for i in range(60)] for axis in range(2)]
    return PictureFacts(
        budget=32_000,
        used=900,
        display=Display(kind="image", shape=[5, 8, 8], scale="span", low=-1.0, high=2.0, channels=[0, 2, 4]),
        task="classes",
        classes=classes or [],
        seen=512,
        samples=[sample, worst],
        heat_layer=layer,
        kernels=[kernel],
        kernel_layers=20,
        maps=[mapped],
        map_layers=40,
        projection=Projection(
            method="pca",
            layer=layer,
            n_features=512,
            seen=512,
            explained=[0.4, 0.2],
            x=points[0],
            y=points[1],
            targets=[i % 15 for i in range(60)],
            predictions=[i % 14 for i in range(60)],
        ),
        generation=GenerationFacts(
            features="",
            n_features=16,
            n_real=512,
            n_fake=512,
            distance=3.2,
            floor=0.2,
            spread=0.02,
            coverage=0.05,
            coverage_expected=0.7,
            copies=12,
            paired=False,
            real=of_levels(sheet([levels % 14, levels % 11], 2)),
            fake=of_levels(sheet([levels % 2, levels % 4], 2)),
            columns=2,
        ),
        left_out=[
            LeftOut(part="maps", why="budget", n=4),
            LeftOut(part="heat", why="not possible", reason=f"no gradient leads to {layer}"),
        ],
    )


@cache
def classifier(n_blocks: int = 11) -> Report:
    """Return a full report: 58 layers, 83 parameter tensors, curves, a confusion matrix, diagnoses of each severity."""
    rng = random.Random(1)
    return Report(
        format_version=FORMAT_VERSION,
        title="ResNet on CIFAR-10",
        meta=Meta(
            created="2026-01-02T03:04:05Z",
            command="reportgen examine net.py:make --data cifar.py:loader -o report.html",
            sources={"model": "net.py:make", "checkpoint": "runs/7/best.pt", "data": "cifar.py:loader"},
            versions={"reportgen": "0.1.0", "torch": "2.13.0", "python": "3.11.7"},
            machine="Linux x86_64, 8 cores",
            device="cpu",
            seconds={"weights": 0.21, "activations": 4.1, "gradients": 6.3, "total": 11.9},
        ),
        subject=SubjectFacts(
            name="resnet",
            kind="model",
            inputs="real",
            state="trained",
            n_batches=16,
            n_samples=512,
            input_shapes=["32 × 3 × 32 × 32"],
            loss="CrossEntropyLoss",
            optimizer="SGD",
        ),
        coverage=[
            Coverage(part="architecture", status="measured"),
            Coverage(part="weights", status="measured"),
            Coverage(part="activations", status="measured"),
            Coverage(part="gradients", status="partial", reason="4 of 16 batches, to keep the cost low"),
            Coverage(part="training", status="measured"),
            Coverage(part="evaluation", status="measured"),
            Coverage(part="spectra", status="not measured", reason="not asked for"),
        ],
        architecture=architecture(n_blocks),
        weights=weights(rng, n_blocks),
        activations=activations(rng, n_blocks),
        gradients=gradients(rng, n_blocks),
        training=history(),
        dataset=dataset(),
        evaluation=classification(),
        pictures=pictures(),
        findings=[f for d in diagnoses() for f in (*d.findings, *d.consequences)],
        diagnoses=diagnoses(),
    )


def regressor() -> Report:
    """Return a report of a healthy regressor without weights or gradients."""
    rng = random.Random(2)
    targets = [rng.gauss(3, 2) for i in range(400)]
    pairs = [(t, t + rng.gauss(0, 0.4)) for t in targets]
    residual = stats([p - t for t, p in pairs])
    facts = Regression(r2=0.958, mae=0.32, mse=0.16, target=stats(targets), residual=residual, sample=pairs)
    return Report(
        format_version=FORMAT_VERSION,
        title="Housing prices",
        meta=Meta(),
        subject=SubjectFacts(name="mlp", kind="model", inputs="real", state="trained", n_batches=4, n_samples=400),
        coverage=[
            Coverage(part="evaluation", status="measured"),
            Coverage(part="gradients", status="not measured", reason="no loss was given"),
        ],
        evaluation=EvaluationFacts(task="regression", n_samples=400, loss=0.16, regression=facts),
    )


def checkpoint() -> Report:
    """Return a report of a bare weights file with one fault: small enough to be read whole."""
    rng = random.Random(4)
    broken = stats([rng.gauss(0, 0.1) for i in range(60)] + [math.nan, math.inf])
    rows = [
        WeightRow(
            name="fc.weight", module="", shape=[10, 6], dtype="float32", role="weight", trainable=None, stats=broken
        ),
        WeightRow(
            name="fc.bias", module="", shape=[10], dtype="float32", role="bias", trainable=None, tied_to="head.bias"
        ),
    ]
    finding = Finding(
        rule="weights.non-finite",
        severity=Severity.ERROR,
        subject="fc.weight",
        section="weights",
        evidence={"nan": 1.0, "inf": 1.0},
        threshold={"nan": 0.0, "inf": 0.0},
    )
    return Report(
        format_version=FORMAT_VERSION,
        title="run 7, epoch 3",
        meta=Meta(created="2026-01-02T03:04:05Z", versions={"reportgen": "0.1.0"}, seconds={"weights": 0.02}),
        subject=SubjectFacts(name="best.pt", kind="checkpoint"),
        coverage=[
            Coverage(part="weights", status="measured"),
            Coverage(part="activations", status="not measured", reason="a file alone cannot be run"),
        ],
        weights=WeightFacts(rows=rows),
        diagnoses=[
            Diagnosis(
                cause="non-finite-weights",
                severity=Severity.ERROR,
                subject="fc.weight",
                findings=[finding],
                advice="Go back to the last checkpoint without them.",
            )
        ],
    )


@cache
def huge() -> Report:
    """Return a report of 1,000 parameter tensors."""
    return classifier(166)


def _hostile_diagnoses() -> list[Diagnosis]:
    return [
        Diagnosis(
            cause=f"cause {n}",
            severity=Severity.ERROR,
            subject=n,
            advice=n,
            findings=[
                Finding(
                    rule=f"rule {n}",
                    severity=Severity.ERROR,
                    subject=n,
                    section=n,
                    evidence={n: 0.0, "huge": 1e300, "tiny": 5e-324},
                    threshold={n: -1e-300},
                    detail={n: n},
                )
            ],
        )
        for n in HOSTILE_NAMES
    ]


def hostile() -> Report:
    """Return a report whose every text is an attack and whose every number is missing or at an end of its range."""
    none, names = TensorStats(), HOSTILE_NAMES
    broken = stats([math.nan, math.inf, -math.inf, 0.0, 3.4e38, -3.4e38])
    layers = [LayerRow(name=n, kind=n, depth=40, is_leaf=True, parameters=0, trainable=0) for n in names]
    rows = [
        WeightRow(
            name=n,
            module=n,
            shape=[],
            dtype=n,
            role="other",
            trainable=None,
            tied_to=n if i % 2 else None,
            stats=(None, none, broken)[i % 3],
        )
        for i, n in enumerate(names)
    ]
    outputs = [
        ActivationRow(name=n, kind=n, order=i, calls=0, shape=n, stats=(none, broken)[i % 2])
        for i, n in enumerate(names)
    ]
    slopes = [
        GradientRow(name=n, module=n, order=None, is_matrix=True, requires_grad=True, n_none=1, n_zero=0) for n in names
    ]
    series = [Series(name=n, axis="step", x=[0.0, 1.0, 2.0], y=[1.0, None, 1e308], n=3, nonfinite=1) for n in names]
    return Report(
        format_version=FORMAT_VERSION,
        title=HOSTILE,
        meta=Meta(
            created=HOSTILE,
            command=HOSTILE,
            sources={n: n for n in names},
            versions={HOSTILE: HOSTILE},
            machine=HOSTILE,
            device=HOSTILE,
            seconds={HOSTILE: 0.0},
        ),
        subject=SubjectFacts(
            name=HOSTILE, kind="checkpoint", input_shapes=list(names), loss=HOSTILE, optimizer=HOSTILE
        ),
        coverage=[Coverage(part=n, status="not measured", reason=n) for n in names],
        architecture=ArchitectureFacts(
            rows=layers,
            parameters=0,
            trainable=0,
            buffers=0,
            parameter_bytes=0,
            buffer_bytes=0,
            dtypes={n: 1 for n in names},
            tied=[list(names)],
            uncounted=list(names),
        ),
        weights=WeightFacts(rows=rows, buffers=[BufferRow(name=n, shape=[0], dtype=n) for n in names]),
        activations=ActivationFacts(
            mode="train",
            n_batches=0,
            n_samples=0,
            rows=outputs,
            not_executed=list(names),
            exact=list(names),
            reasons=list(names),
        ),
        gradients=GradientFacts(loss=HOSTILE, mode="eval", n_batches=1, n_samples=0, rows=slopes, loss_values=[None]),
        training=History(series=series, hyperparameters={n: n for n in names}, interrupted=HOSTILE, optimizer=HOSTILE),
        dataset=DatasetFacts(
            n_samples=0,
            n_batches=0,
            shape=HOSTILE,
            dtype=HOSTILE,
            target_dtype=HOSTILE,
            features=[FeatureStats(index=0, stats=broken)],
            class_counts=[0, 0],
        ),
        evaluation=EvaluationFacts(
            task="multiclass",
            n_samples=0,
            outputs=OutputFacts(min=-3e38, max=3e38, row_sum_error=None, log_sum_exp_error=None),
            classification=Classification(classes=list(names), confusion=[[0] * len(names) for n in names]),
        ),
        pictures=pictures(HOSTILE, list(names)),
        diagnoses=_hostile_diagnoses(),
    )


ALL = {
    "smallest": smallest,
    "checkpoint": checkpoint,
    "classifier": classifier,
    "regressor": regressor,
    "huge": huge,
    "hostile": hostile,
}


@cache
def page(name: str) -> Page:
    """Return the page of a report, in English; it is frozen, and to build one costs more than to look at it."""
    return build(ALL[name]())


@cache
def html(name: str) -> bytes:
    """Return a report's page as it is written, in English."""
    return render(ALL[name](), ".html")
