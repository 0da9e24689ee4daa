"""Messages as the libraries really print them, each to its own cause and to no other; and logs in which nothing went wrong, or nothing that is known.

What the installed libraries can be made to say is provoked here; the rest are texts of public issues (each entry's reference, or one like it)."""

import io
import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from support.diagnosis import EXAMPLES, FP16, OOM, kinds, tb
from support.places import ROOT

from dialsum.checks.diagnosis import diagnose_file
from dialsum.checks.logs import read_log
from dialsum.runs.time_limits import TimeLimit

# Provoked in the installed libraries


def _toy(name):
    from dialsum.models.cards import card
    from dialsum.models.loading import load
    from dialsum.models.replicas import replica

    return load(card(name), str(replica(card(name))))


def _copy(tmp_path, change):
    import shutil

    import transformers

    from dialsum.models.cards import card
    from dialsum.models.replicas import replica

    folder = tmp_path / "checkpoint"
    shutil.copytree(replica(card("qwen3-4b")), folder)
    change(folder / "model.safetensors")
    transformers.AutoModelForCausalLM.from_pretrained(folder)


def _scaler(tmp_path):
    import torch

    weight = torch.nn.Parameter(torch.ones(4, dtype=torch.float16))
    optimizer, scaler = torch.optim.SGD([weight], lr=0.1), torch.amp.GradScaler("cpu")
    scaler.scale(weight.float().sum()).backward()
    scaler.step(optimizer)


def _dtype(tmp_path):
    import torch

    torch.nn.Linear(4, 4).half()(torch.ones(1, 4))


def _memory(tmp_path):
    import torch

    torch.empty(10**15)


def _meta(tmp_path):
    import torch

    torch.nn.Linear(3, 3, device="meta").to("cpu")


def _cuda(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    if torch.version.cuda:
        pytest.skip("this torch was compiled with CUDA")
    torch.ones(2).cuda()


def _targets(tmp_path):
    from peft import LoraConfig, get_peft_model

    get_peft_model(_toy("polyglot").model, LoraConfig(target_modules=["q_proj", "v_proj"]))


def _no_adapter(tmp_path):
    from peft import PeftModel

    PeftModel.from_pretrained(_toy("qwen3-4b").model, str(tmp_path))


def _no_grad(tmp_path):
    import torch

    torch.ones(2).sum().backward()


def _embedding(tmp_path):
    import torch

    _toy("qwen3-4b").model(input_ids=torch.tensor([[10**6]]))


def _overflow(tmp_path):
    _toy("kobart").tokenizer.batch_decode([[-100, 5]])


def _template(tmp_path):
    _toy("kobart").tokenizer.apply_chat_template([{"role": "user", "content": "x"}])


def _padding(tmp_path):
    tokenizer = _toy("qwen3-4b").tokenizer
    tokenizer.pad_token = None
    tokenizer(["a", "b c d"], padding=True)


def _type_ids(tmp_path):
    import torch

    ids = torch.ones(1, 4, dtype=torch.long)
    _toy("qwen3-4b").model.generate(input_ids=ids, token_type_ids=ids, max_new_tokens=2)


def _length(tmp_path):
    import torch

    _toy("qwen3-4b").model.generate(input_ids=torch.ones(1, 40, dtype=torch.long), max_length=3)


def _truncated(tmp_path):
    _copy(tmp_path, lambda f: f.write_bytes(f.read_bytes()[:-100]))


def _pointer(tmp_path):
    _copy(
        tmp_path,
        lambda f: f.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 4\n"),
    )


def _no_weights(tmp_path):
    _copy(tmp_path, lambda f: f.unlink())


def _page(tmp_path):
    import torch

    (tmp_path / "x.pt").write_text("<html>not found</html>")
    torch.load(tmp_path / "x.pt")


def _zip(tmp_path):
    import torch

    torch.save(torch.ones(1000), tmp_path / "x.pt")
    (tmp_path / "x.pt").write_bytes((tmp_path / "x.pt").read_bytes()[:2000])
    torch.load(tmp_path / "x.pt")


def _strategy(tmp_path):
    from transformers import TrainingArguments

    TrainingArguments(str(tmp_path), evaluation_strategy="epoch")


def _adamw(tmp_path):
    from transformers import AdamW  # noqa: F401


def _architecture(tmp_path):
    from transformers import AutoConfig

    (tmp_path / "config.json").write_text('{"model_type": "qwen9"}')
    AutoConfig.from_pretrained(tmp_path)


def _csv(text):
    def provoke(tmp_path):
        import pandas as pd

        (tmp_path / "x.csv").write_bytes(text)
        pd.read_csv(tmp_path / "x.csv")["dialogue"]

    return provoke


def _nan(tmp_path):
    import pandas as pd

    [x.replace("a", "b") for x in pd.Series(["x", float("nan")], dtype=object)]


def _full(tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full")
    with open("/dev/full", "w", buffering=1) as f:
        f.write("x\n")


def _kernel(tmp_path):
    import nbformat
    import papermill

    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), tmp_path / "n.ipynb")
    papermill.execute_notebook(
        tmp_path / "n.ipynb", tmp_path / "o.ipynb", kernel_name="nosuch", progress_bar=False
    )


def _slow(tmp_path):
    raise TimeLimit(
        "loading took longer than 300 s: raise --load-timeout (0: no limit), or find out what is slow."
    )


PROVOKED = {
    "precision-scaler-fp16": _scaler,
    "precision-dtype-clash": _dtype,
    "memory-cpu": _memory,
    "offload-meta": _meta,
    "cuda-not-compiled": _cuda,
    "peft-targets": _targets,
    "peft-config-missing": _no_adapter,
    "peft-no-grad": _no_grad,
    "tokenizer-index-range": _embedding,
    "tokenizer-decode-overflow": _overflow,
    "tokenizer-chat-template": _template,
    "tokenizer-pad-missing": _padding,
    "tokenizer-token-type-ids": _type_ids,
    "generation-max-length": _length,
    "checkpoint-truncated": _truncated,
    "checkpoint-not-safetensors": _pointer,
    "checkpoint-no-weights": _no_weights,
    "checkpoint-pickle": _page,
    "checkpoint-zip": _zip,
    "version-training-arguments": _strategy,
    "version-import": _adamw,
    "version-model-type": _architecture,
    "data-encoding": _csv("대화,요약\n안녕,인사\n".encode("cp949")),
    "data-empty": _csv(b""),
    "data-csv": _csv(b"a,b\n1,2\n1,2,3\n"),
    "data-column": _csv(b"text,summary\na,b\n"),
    "data-nan-text": _nan,
    "disk-full": _full,
    "kernel-missing": _kernel,
    "dialsum-time-limit": _slow,
}


@pytest.mark.parametrize("kind", PROVOKED)
def test_what_the_installed_libraries_say(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BaseException) as caught:  # noqa: PT011
        PROVOKED[kind](tmp_path)
    if caught.type is pytest.skip.Exception:
        raise caught.value
    log = "".join(traceback.format_exception(caught.value))
    assert kinds(f"loading …\n  0%|          | 0/4 [00:00<?, ?it/s]{log}") == [kind]


def test_colours_and_notebooks_as_papermill_leaves_them(tmp_path):
    import nbformat
    import papermill

    code = 'import torch\nprint("step 1")\ntry: {}["a"]\nexcept KeyError as e: raise ValueError("Attempting to unscale FP16 gradients.") from e'
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)]), tmp_path / "n.ipynb")
    with pytest.raises(papermill.PapermillExecutionError) as caught:
        papermill.execute_notebook(
            tmp_path / "n.ipynb", tmp_path / "o.ipynb", kernel_name="python3", progress_bar=False
        )
    assert "\x1b[" in (tmp_path / "o.ipynb").read_text().encode().decode("unicode_escape", "ignore")
    (d,) = diagnose_file(tmp_path / "o.ipynb")
    assert (
        d.kind == "precision-scaler-fp16"
        and any("In [1]" in e or "In[1]" in e for e in d.evidence)
        and "\x1b" not in str(d.evidence)
    )
    assert kinds("".join(traceback.format_exception(caught.value))) == ["precision-scaler-fp16"]
    old = "---------------------------------------------------------------------------\n\x1b[0;31mValueError\x1b[0m                                Traceback (most recent call last)\n<ipython-input-8-421d79812622> in <module>\n----> 1 x.predict()\n\n/usr/local/lib/python3.10/dist-packages/transformers/generation/utils.py in _validate_model_kwargs(self)\n   1150             raise ValueError(\n\n"
    assert kinds(old + dict(EXAMPLES)["tokenizer-token-type-ids"].splitlines()[-1]) == [
        "tokenizer-token-type-ids"
    ]
    rich = (
        "╭──────────── Traceback (most recent call last) ─────────────╮\n│ /root/finetune.py:271 in <module>                          │\n│   268                                                      │\n│ ❱ 271 trainer.train()                                      │\n╰────────────────────────────────────────────────────────────╯\n"
        + FP16
        + "\n"
    )
    assert kinds(rich) == ["precision-scaler-fp16"] and read_log(io.StringIO(rich))[0][0].frames == (
        "/root/finetune.py:271 in <module>",
    )


def test_a_long_log_takes_little_memory(tmp_path):
    line = "{'loss': 1.0841, 'grad_norm': 4.1, 'learning_rate': 2e-05, 'epoch': 0.7}\n 10%|█         | 100/1000 [00:10<01:40,  9.3it/s]\r"
    with open(tmp_path / "long.log", "w") as f:
        f.write(tb(OOM))
        for _ in range(20):
            f.write(line * 10_000)
        f.write("x" * 1_000_000 + "\n" + tb(FP16) * 2000)
    code = f"import resource; from dialsum.checks.diagnosis import diagnose_file as d; m = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss//1024; a = m(); print([x.kind for x in d({str(tmp_path / 'long.log')!r})], m() - a)"
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | dict(PYTHONPATH=str(ROOT)),
        check=True,
    ).stdout
    found, memory = out.strip().rsplit(" ", 1)
    assert found == "['precision-scaler-fp16', 'memory-cuda']" and int(memory) < 60  # 24 MB of log
