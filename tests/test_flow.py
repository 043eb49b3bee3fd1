"""The data flow between layers, against torch.fx and against graphs written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

from reportgen.document.flow import FlowFacts
from reportgen.probe import flow as flow_module
from reportgen.probe import forward
from reportgen.probe.flow import Flow
from reportgen.subject.data import Batch
from reportgen.subject.vision import prepare

PASSING = (nn.Dropout, nn.Flatten, nn.Identity)


def flow_of(model: nn.Module, *args: Any, **kwargs: Any) -> FlowFacts:
    found = forward.observe(model.eval(), Batch(args, kwargs)).flow
    assert found is not None
    return found


def label(facts: FlowFacts, place: int) -> str:
    node = facts.nodes[place]
    return "output" if node.op == "output" else f"{node.name}{'/' + node.op if node.op else ''}{'*' * node.call}"


def edges(facts: FlowFacts) -> dict[tuple[str, str], str]:
    return {(label(facts, e.source), label(facts, e.target)): e.way for e in facts.edges}


def between_layers(facts: FlowFacts) -> set[tuple[str, str]]:
    """Return which layers reach which through operators alone."""
    before: dict[int, set[int]] = {}
    for edge in facts.edges:
        before.setdefault(edge.target, set()).add(edge.source)

    def sources(place: int) -> set[int]:
        found: set[int] = set()
        for s in before.get(place, set()):
            found |= sources(s) if facts.nodes[s].op not in ("", "input") else {s}
        return found

    kept = [i for i, n in enumerate(facts.nodes) if n.op in ("", "input", "output")]
    return {(label(facts, s), label(facts, i)) for i in kept for s in sources(i)}


def by_fx(model: nn.Module) -> set[tuple[str, str]]:
    """Trace the model symbolically: the set of layers that each value comes from."""
    graph, modules = fx.symbolic_trace(model).graph, dict(model.named_modules())
    came: dict[fx.Node, set[str]] = {}
    calls: dict[str, int] = {}
    found = set()
    for node in graph.nodes:
        sources: set[str] = set().union(*(came[n] for n in node.all_input_nodes))
        if node.op == "placeholder":
            sources = {f"{node.name}/input"}
        elif node.op == "call_module" and not isinstance(modules[node.target], PASSING):
            calls[node.target] = calls.get(node.target, -1) + 1
            name = node.target + "*" * calls[node.target]
            found |= {(s, name) for s in sources}
            sources = {name}
        elif node.op == "output":
            found |= {(s, "output") for s in sources}
        came[node] = sources
    return found


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.middle = nn.Conv2d(1, 4, 3, 1, 1), nn.Conv2d(4, 8, 3, 1, 1), nn.Conv2d(8, 8, 1)
        self.pool, self.up = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)
        self.up2, self.up1 = nn.Conv2d(16, 4, 3, 1, 1), nn.Conv2d(8, 1, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = torch.relu(self.down1(x))
        b = torch.relu_(self.down2(self.pool(a)))
        c = self.middle(self.pool(b))
        d = self.up2(torch.cat([b, self.up(c)], 1))
        return self.up1(torch.cat([a, self.up(d)], 1))


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 1)
        self.one, self.three = nn.Conv2d(4, 2, 1), nn.Sequential(nn.Conv2d(4, 2, 1), nn.Conv2d(2, 2, 3, 1, 1))
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.head(torch.cat([self.one(x), self.three(x)], 1).mean((2, 3)))


def torchvision(name: str) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        prepare()
        from torchvision import models

        extra = {"init_weights": False} if name == "googlenet" else {}
        return getattr(models, name)(**extra)

    return build


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (torchvision("resnet18"), (2, 3, 32, 32)),
        (torchvision("mobilenet_v3_small"), (2, 3, 32, 32)),
        (torchvision("googlenet"), (2, 3, 64, 64)),
        (UNet, (2, 1, 8, 8)),
        (Inception, (2, 1, 8, 8)),
    ],
)
def test_edges_are_those_of_a_symbolic_trace(build: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    model = build().eval()
    facts = flow_of(model, torch.randn(shape))
    assert facts.reason == ""
    assert between_layers(facts) == by_fx(model)


def test_a_dense_block_reads_all_before() -> None:
    class Dense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(4 * (i + 1), 4) for i in range(4))

        def forward(self, x: Tensor) -> Tensor:
            features = [x]
            for layer in self.layers:
                features.append(layer(torch.cat(features, 1)))
            return torch.cat(features, 1)

    found = between_layers(flow_of(Dense(), torch.randn(2, 4)))
    names = ["x/input", "layers.0", "layers.1", "layers.2", "layers.3", "output"]
    assert found == {(a, b) for i, a in enumerate(names) for b in names[i + 1 :]}


def test_ways_of_a_unet() -> None:
    facts = flow_of(UNet(), torch.randn(2, 1, 8, 8))
    cats = [i for i, node in enumerate(facts.nodes) if node.op == "cat"]
    skips = [(label(facts, e.source), e.target) for e in facts.edges if e.way == "skip"]
    assert skips == [("down2", cats[0]), ("down1", cats[1])]
    assert {e.way for e in facts.edges} == {"sequential", "skip"}


def test_a_projection_around_a_block_is_a_branch_and_an_identity_a_skip() -> None:
    class Block(nn.Module):
        def __init__(self, projected: bool) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
            self.around = nn.Linear(4, 4) if projected else nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            y = self.second(torch.relu(self.first(x)))
            y += self.around(x)
            return y

    found = edges(flow_of(nn.Sequential(nn.Linear(4, 4), Block(False), Block(True)), torch.randn(2, 4)))
    assert found == {
        ("input/input", "0"): "sequential",
        ("0", "1.first"): "sequential",
        ("1.first", "1.second"): "sequential",
        ("1.second", "1/add"): "sequential",
        ("0", "1/add"): "skip",
        ("1/add", "2.first"): "branch",
        ("1/add", "2.around"): "branch",
        ("2.first", "2.second"): "sequential",
        ("2.second", "2/add"): "branch",
        ("2.around", "2/add"): "branch",
        ("2/add", "output"): "sequential",
    }


def test_an_encoder_and_a_decoder() -> None:
    model = nn.Transformer(16, 2, 1, 1, 32, batch_first=True)
    found = edges(flow_of(model, torch.randn(2, 5, 16), torch.randn(2, 4, 16)))
    for pair in (
        ("src/input", "encoder.layers.0.self_attn"),
        ("tgt/input", "decoder.layers.0.self_attn"),
        ("encoder.norm", "decoder.layers.0.multihead_attn"),
        ("decoder.layers.0.norm1", "decoder.layers.0.multihead_attn"),
        ("decoder.norm", "output"),
    ):
        assert pair in found
    assert found["src/input", "encoder.layers.0/add"] == "skip"
    assert ("src/input", "decoder.layers.0.self_attn") not in found
    assert ("encoder.norm", "decoder.layers.0.self_attn") not in found


def test_recurrent_layers_are_one_step() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.rnn, self.head = nn.Embedding(9, 4), nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 2)

        def forward(self, tokens: Tensor) -> Tensor:
            _, (h, _) = self.rnn(self.embed(tokens))
            return self.head(h[-1])

    assert list(edges(flow_of(Tagger(), torch.randint(9, (2, 6))))) == [
        ("tokens/input", "embed"),
        ("embed", "rnn"),
        ("rnn", "head"),
        ("head", "output"),
    ]


def test_each_call_of_a_shared_module_is_a_node() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(4, 4), nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(self.inner(x))

    facts = flow_of(Twice(), torch.randn(2, 4))
    assert [label(facts, i) for i in range(len(facts.nodes))] == [
        "x/input",
        "inner.0",
        "inner.1",
        "inner.0*",
        "inner.1*",
        "output",
    ]
    assert [(g.name, g.around) for g in facts.groups] == [("inner", -1), ("inner", -1)]
    assert [n.group for n in facts.nodes] == [-1, 0, 0, 1, 1, -1]


def test_inputs_have_their_names_and_unused_modules_no_node() -> None:
    class TwoTowers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image, self.text, self.unused = nn.Linear(4, 3), nn.Linear(5, 3), nn.Linear(2, 2)

        def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"score": (self.image(batch["pixels"]) * self.text(batch["words"])).sum(1)}

    found = edges(flow_of(TwoTowers(), {"pixels": torch.randn(2, 4), "words": torch.randn(2, 5)}))
    assert found == {
        ("pixels/input", "image"): "sequential",
        ("words/input", "text"): "sequential",
        ("image", "/mul"): "branch",
        ("text", "/mul"): "branch",
        ("/mul", "output"): "sequential",
    }


def test_parameters_read_outside_of_layers_have_a_node() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.place = nn.Embedding(9, 4), nn.Parameter(torch.randn(6, 4))

        def forward(self, tokens: Tensor) -> Tensor:
            return (self.embed(tokens) + self.place) @ self.embed.weight.T

    facts = flow_of(Tied(), torch.randint(9, (2, 6)))
    assert [(n.name, n.op, n.parameters) for n in facts.nodes[2:4]] == [("", "add", 24), ("embed", "matmul", 0)]
    assert len(facts.edges) == 4


def test_attention_in_code_is_a_step_even_when_one_layer_makes_all_it_reads() -> None:
    class Fused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(8, 24), nn.Linear(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in self.qkv(x).chunk(3, -1))
            y = nn.functional.scaled_dot_product_attention(q, k, v)
            return self.out(y.transpose(1, 2).flatten(2))

    found = list(edges(flow_of(Fused(), torch.randn(2, 5, 8))))
    assert found == [("x/input", "qkv"), ("qkv", "/attention"), ("/attention", "out"), ("out", "output")]


def test_what_only_passes_on_is_no_node_and_writes_in_place_are_followed() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.act, self.drop = nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Dropout()
            self.flat, self.second, self.last = nn.Flatten(), nn.Linear(4, 2), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x)
            self.act(y)
            table = torch.zeros(2, 4)
            table[:, :2] = self.second(self.flat(self.drop(y)))
            return self.last(table)

    assert list(edges(flow_of(InPlace(), torch.randn(2, 4)))) == [
        ("x/input", "first"),
        ("first", "act"),
        ("act", "second"),
        ("second", "last"),
        ("last", "output"),
    ]


def test_a_way_past_the_operators_is_told() -> None:
    class Past(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            y = self.first(x).numpy()
            return self.second(torch.from_numpy(np.tanh(y)))

    facts = flow_of(Past(), torch.randn(2, 4))
    assert facts.reason == "what these read came from where no operator was seen: second"
    assert ("first", "second") not in edges(facts)


@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_scripted_models_have_their_order_of_definition() -> None:
    model = torch.jit.trace(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), torch.randn(2, 4), check_trace=False)
    facts = flow_of(model, torch.randn(2, 4))
    assert ([n.name for n in facts.nodes], facts.edges, facts.reason) == (["0", "1"], [], "TorchScript takes no hooks")


def test_trouble_leaves_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any) -> None:
        raise ValueError("odd tensor")

    monkeypatch.setattr(Flow, "_see", fails)
    facts = flow_of(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), torch.randn(2, 4))
    assert [n.name for n in facts.nodes if not n.op] == ["0", "1"]
    assert facts.edges == []
    assert facts.reason == "data could not be followed, so only the order is known: ValueError: odd tensor"


def test_a_long_pass_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_module, "MAX_NODES", 20)
    facts = flow_of(nn.Sequential(*(nn.Linear(4, 4) for _ in range(50))), torch.randn(2, 4))
    assert len(facts.nodes) == 20
    assert facts.reason == "the pass has more than 20 steps, of which the first are shown"


def test_nothing_is_left_behind_also_after_an_exception() -> None:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            raise ValueError(f"no {self.inner(x).shape}")

    model = Fails()
    with pytest.raises(ValueError):
        forward.observe(model, Batch((torch.randn(2, 4),)))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_outputs_are_the_same_to_the_bit() -> None:
    torch.manual_seed(0)
    model, x, seen = UNet().eval(), torch.randn(2, 1, 8, 8), []
    handle = model.register_forward_hook(lambda module, args, output: seen.append(output.clone()))
    flow_of(model, x)
    handle.remove()
    with torch.no_grad():
        assert torch.equal(seen[-1], model(x))
