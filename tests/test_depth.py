"""Names of a file that keeps no order come back in the order in which models register their layers."""

from __future__ import annotations

import random

import pytest

from reportgen.subject.depth import by_depth
from reportgen.subject.model import load_model

LLAMA = [
    "model.embed_tokens.weight",
    *(
        f"model.layers.{i}.{part}.weight"
        for i in range(12)
        for part in (
            *("input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"),
            *("post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"),
        )
    ),
    *("model.norm.weight", "lm_head.weight"),
]
GPT2 = [
    *("wpe.weight", "wte.weight"),
    *(
        f"h.{i}.{part}.{leaf}"
        for i in range(12)
        for part in ("ln_1", "attn.c_attn", "attn.c_proj", "ln_2", "mlp.c_fc", "mlp.c_proj")
        for leaf in ("weight", "bias")
    ),
    *("ln_f.weight", "ln_f.bias"),
]
BERT = [
    *("bert.embeddings.word_embeddings.weight", "bert.embeddings.LayerNorm.weight"),
    *(
        f"bert.encoder.layer.{i}.{part}.weight"
        for i in range(12)
        for part in (
            *("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"),
            *("intermediate.dense", "output.dense"),
        )
    ),
    *("bert.pooler.dense.weight", "classifier.weight"),
]
LENET = [f"{layer}.{leaf}" for layer in ("conv1", "conv2", "fc1", "fc2", "fc3") for leaf in ("weight", "bias")]
T5 = ["shared.weight", "encoder.block.0.q.weight", "decoder.block.0.q.weight", "lm_head.weight"]


@pytest.mark.parametrize("names", [LLAMA, GPT2, BERT, LENET, T5], ids=["llama", "gpt2", "bert", "lenet", "t5"])
def test_names_of_known_models_are_in_the_order_of_their_layers(names: list[str]) -> None:
    assert by_depth(random.Random(0).sample(names, len(names))) == names


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "vgg11", "mobilenet_v2", "shufflenet_v2_x0_5"])
def test_names_of_torchvision_are_in_the_order_in_which_the_model_registers_them(name: str) -> None:
    names = list(load_model(f"torchvision:{name}").state_dict())
    assert by_depth(random.Random(0).sample(names, len(names))) == names


def test_what_no_word_tells_is_in_the_order_of_numbers_and_letters() -> None:
    names = ["", ".", "a", "b..9.x", "b.1٢", "b.9.x", "b.10.x"]
    assert by_depth(reversed(names)) == names
