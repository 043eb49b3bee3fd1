"""What is said of every tensor of a batch, against numpy on the whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import ks_2samp
from torch import Tensor, nn

from reportgen.document.facts import DatasetFacts
from reportgen.document.scores import distance
from reportgen.probe.batches import BatchTensors
from reportgen.probe.dataset import DatasetProbe
from reportgen.probe.reduce import tensor_stats
from reportgen.subject.data import Batch


def facts_of(*batches: Batch) -> DatasetFacts:
    probe = DatasetProbe(nn.Linear(1, 1))
    for batch in batches:
        probe.update(batch)
    return probe.facts()


def test_inputs_and_targets_are_told_tensor_by_tensor() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 4, generator=generator)
    mask = torch.rand(30, 4, generator=generator) < 0.25
    kind, size = torch.randint(3, (30,), generator=generator), torch.randn(30, 1, generator=generator)
    tags = (torch.rand(30, 3, generator=generator) < 0.4).float()
    parts = [
        Batch((), {"x": x[s], "mask": mask[s]}, {"kind": kind[s], "size": size[s], "tags": tags[s]})
        for s in (slice(0, 13), slice(13, 30))
    ]
    facts = facts_of(*parts)
    rows = {(t.role, t.name): t for t in facts.tensors}
    assert list(rows) == [("input", "x"), ("input", "mask"), ("target", "kind"), ("target", "size"), ("target", "tags")]
    for key, values in (("x", x), ("mask", mask), ("kind", kind), ("size", size), ("tags", tags)):
        row = rows[("input" if key in ("x", "mask") else "target", key)]
        wanted = values.double().numpy()
        assert row.stats.mean == pytest.approx(wanted.mean())
        assert row.stats.std == pytest.approx(wanted.std())
        assert (row.stats.min, row.stats.max) == (wanted.min(), wanted.max())
        assert row.stats.zero_share == pytest.approx((wanted == 0).mean())
    assert rows["input", "x"].shape == "13 × 4"
    assert rows["input", "mask"].dtype == "bool"
    counted = {t.name: t for t in facts.targets}
    assert counted["kind"].counts == np.bincount(kind).tolist()
    assert (counted["tags"].kind, counted["tags"].n) == ("labels", 30)
    assert counted["tags"].counts == tags.sum(0).long().tolist()
    assert "size" not in counted


def test_tokens_are_counted() -> None:
    x = torch.tensor([[5, 5, 7, 0], [5, 2, 0, 0]])
    facts = facts_of(Batch((x,), {}, torch.tensor([0, 1])), Batch((x,), {}, torch.tensor([0, 1])))
    assert facts.tokens is not None
    assert (facts.tokens.n, facts.tokens.distinct) == (16, 4)
    assert facts.tokens.commonest == [(0, 6), (5, 6), (2, 2), (7, 2)]
    assert facts.tensors[0].stats.mean == 3.0


def test_targets_that_only_looked_like_labels_are_not_counted_as_such() -> None:
    probe = BatchTensors()
    for y in (torch.tensor([[0, 1], [1, 1]]), torch.tensor([[0, 4], [1, 1]]), torch.tensor([[0, 1], [1, 0]])):
        probe.update(Batch((torch.zeros(2, 1),), {}, y))
    assert probe.counts() == []


def test_large_tensors_are_sampled_and_it_is_said() -> None:
    x, mask = torch.zeros(2, 3), torch.arange(float(1 << 21)).reshape(2, -1)
    rows = facts_of(Batch((x, mask), {}, None)).tensors
    assert [row.sampled for row in rows] == [False, True]
    assert rows[1].stats.mean == pytest.approx(2**20, rel=1e-3)


@pytest.mark.parametrize("moved", [0.0, 0.5])
def test_the_gap_between_distributions_is_that_of_kolmogorov_and_smirnov(moved: float) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=4000), rng.normal(moved, 1, 3000)
    wanted = ks_2samp(a, b).statistic
    parts = [tensor_stats(torch.tensor(v), sample=1 << 14) for v in (a, b)]
    assert parts[0] is not None
    assert parts[1] is not None
    found = distance(parts[0], parts[1])
    assert found is not None
    assert found <= wanted + 1e-12  # what differs inside of a bin is not seen
    assert found == pytest.approx(wanted, abs=0.02)


def tensors_of(facts: DatasetFacts) -> list[str]:
    return [t.name for t in facts.tensors]


def test_tensors_inside_of_one_argument_have_names() -> None:
    x: dict[str, Tensor] = {"a": torch.zeros(2, 3), "b": torch.ones(2, 1)}
    assert tensors_of(facts_of(Batch((x,), {}, None))) == ["0.a", "0.b"]
