"""Reading a weights file: speed beside a bare pass of ``aminmax``, and the memory that it takes; one thread.

python -m tests.benchmarks.weights [GB]

Generates a sharded checkpoint of so many gigabytes in a temporary folder, 8 unless told otherwise, in bfloat16 with the
shapes of LLaMA-7B. Speeds are ratios in one run, of processor time; memory is that of a process of its own, above what
it takes to import the program, where the page cache of the maps counts too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from reportgen.probe import weights
from reportgen.subject import checkpoint

from .pairs import ratio

WIDTH, HIDDEN, VOCABULARY = 4096, 11008, 32000
_MEMORY = """
import sys, torch
torch.set_num_threads(1)
from pathlib import Path
from reportgen.probe import weights
from reportgen.subject import checkpoint
def peak():
    status = Path("/proc/self/status").read_text()  # ru_maxrss would be that of the parent
    return int(status.split("VmHWM:")[1].split()[0]) // 1024
torch.randn(512, 512) @ torch.randn(512, 512)
before = peak()
file = checkpoint.read(Path(sys.argv[1]))
facts = weights.of_tensors(file.tensors, file.pages.release, spectra=sys.argv[2]).facts
print(len(facts.rows), before, peak())
"""


def layer(i: int) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of one layer."""
    name = f"model.layers.{i}"
    attention = {f"{name}.self_attn.{p}_proj.weight": (WIDTH, WIDTH) for p in "qkvo"}
    mlp = {f"{name}.mlp.{p}_proj.weight": (HIDDEN, WIDTH) for p in ("gate", "up")}
    norms = {f"{name}.{p}_layernorm.weight": (WIDTH,) for p in ("input", "post_attention")}
    return attention | mlp | {f"{name}.mlp.down_proj.weight": (WIDTH, HIDDEN)} | norms


def generate(folder: Path, size: float) -> int:
    """Write shards of two layers each until there are ``size`` bytes; return the bytes written."""
    torch.manual_seed(0)
    noise = torch.randn(VOCABULARY * WIDTH).mul_(0.02).bfloat16()
    weight_map, written, i = {}, 0, 0
    shard: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, WIDTH)}
    while written < size:
        file = f"model-{i:05d}.safetensors"
        for k in (2 * i, 2 * i + 1):
            shard |= layer(k)
        tensors = {}
        for name, shape in shard.items():
            n = torch.Size(shape).numel()
            start = int(torch.randint(len(noise) - n + 1, ()))
            tensors[name] = noise[start : start + n].view(shape).clone()
        save_file(tensors, folder / file)
        weight_map |= dict.fromkeys(shard, file)
        written += (folder / file).stat().st_size
        shard, i = {}, i + 1
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return written


def main() -> None:
    torch.set_num_threads(1)
    size = float(sys.argv[1]) * 1e9 if len(sys.argv) > 1 else 8e9
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = generate(folder, size)
        print(f"{written / 1e9:.2f} GB of bfloat16, largest tensor {2 * VOCABULARY * WIDTH / 1e6:.0f} MB", flush=True)
        file = checkpoint.read(folder)

        def bare() -> None:
            for key in file.tensors:
                tensor = file.tensors[key]
                torch.aminmax(tensor)
                file.pages.release(tensor)

        low, middle, high = ratio(lambda: weights.of_tensors(file.tensors, file.pages.release), bare, pairs=3)
        print(f"speed beside aminmax: {1 / middle:.0%}  [{1 / high:.0%} to {1 / low:.0%}]", flush=True)
        for spectra in ("off", "fast"):
            command = [sys.executable, "-c", _MEMORY, name, spectra]
            out = subprocess.run(command, capture_output=True, text=True, check=True)
            rows, before, after = out.stdout.split()
            print(f"memory of a pass over {rows} tensors, spectra {spectra}: peak {after} MB, {before} MB before it")


if __name__ == "__main__":
    main()
