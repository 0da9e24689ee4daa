"""Fifteen failures that cost people nights, each provoked in the installed libraries where they still can be, and our path taken beside it.

Where a failure needs a GPU, its CPU counterpart is provoked; where a library has mended it, the situation that led to it is given to the check that would catch it."""

import json
import shutil
import struct

import psutil
import pytest
import torch

from dialsum.checks.checkpoint import check_folder
from dialsum.checks.preflight import check_model
from dialsum.checks.tokenizer import check_prompt
from dialsum.data.dialogues import read
from dialsum.generation.decoding import Decoding
from dialsum.generation.predictor import Predictor
from dialsum.models.cards import CARDS, card
from dialsum.models.loading import load
from dialsum.models.memory_plan import refuse_offload
from dialsum.models.precision import Device, Precision, decide
from dialsum.models.prompts import Codec, spoiled, training_row
from dialsum.models.replicas import replica
from dialsum.runs.error_facts import error_sentence
from dialsum.runs.errors import DialsumError
from dialsum.runs.places import sample_path
from dialsum.training.fine_tuning import train
from dialsum.training.lora import add_lora, targets
from dialsum.training.new_tokens import add_tokens
from dialsum.training.recipe import Recipe, make_recipe
from dialsum.training.trainer import make_trainer

GPUS = [Device("cuda", bf16) for bf16 in (True, False)]


@pytest.fixture(scope="module")
def rows():
    return read(sample_path() / "train.csv", summaries=True).head(8)


def toy(name, **how):
    return load(card(name), str(replica(card(name))), **how)


def scaled_step(dtype, device="cpu"):
    "One step of fp16's gradient scaler over a weight of a dtype"
    weight = torch.nn.Parameter(torch.ones(4, dtype=dtype, device=device))
    optimizer, scaler = torch.optim.SGD([weight], lr=0.1), torch.amp.GradScaler(device)
    scaler.scale(weight.float().sum()).backward()
    scaler.step(optimizer)


def test_1_a_gradient_scaler_over_bf16_weights():
    scaled_step(torch.float32)
    if torch.cuda.is_available():  # a CPU has learned it meanwhile
        with pytest.raises((RuntimeError, NotImplementedError), match="BFloat16"):
            scaled_step(torch.bfloat16, "cuda")
    with pytest.raises(DialsumError, match="scaler"):
        Precision("cuda", "lora", "bfloat16", "fp16", trainable="bfloat16")
    for c in CARDS.values():
        for device in GPUS:
            p = decide(c, c.method, device)
            assert p.amp == ("bf16" if device.bf16 else "fp16") and p.trainable == "float32"


def test_2_a_gradient_scaler_over_fp16_weights():
    with pytest.raises(ValueError, match="FP16 gradients"):
        scaled_step(torch.float16)
    with pytest.raises(DialsumError):
        Precision("cuda", "full", "float16", "fp16", trainable="float16")
    adapted = add_lora(
        toy("qwen3-4b", dtype="float16").model, Recipe(method="lora")
    )  # the base in half precision, as on an older GPU
    assert {p.dtype for p in adapted.parameters() if p.requires_grad} == {torch.float32}


def test_3_a_model_that_was_offloaded(rows, tmp_path):
    from accelerate import disk_offload

    loaded = toy("solar")
    disk_offload(loaded.model, offload_dir=tmp_path / "offload", execution_device=torch.device("cpu"))
    with pytest.raises(DialsumError, match="offloaded to the disk"):
        refuse_offload(loaded.model)
    with pytest.raises(DialsumError, match="offloaded to the disk"):  # training asks by itself
        train(
            loaded,
            rows,
            rows.head(2),
            make_recipe(card("solar"), "replica", dict(epochs=1)),
            tmp_path,
            Precision.for_this_machine(card("solar"), "replica"),
            say=lambda line: None,
        )
    refuse_offload(toy("solar").model)


def test_4_a_tokenizer_that_returns_token_type_ids(rows):
    loaded = toy("polyglot")
    batch = loaded.tokenizer("안녕하세요", return_tensors="pt")
    assert "token_type_ids" in batch
    with pytest.raises(ValueError, match="token_type_ids"):
        loaded.model.generate(**batch, max_new_tokens=2)
    for name in ("polyglot", "kobart"):
        assert (
            len(
                Predictor(toy(name), decoding=Decoding(max_new_tokens=2)).predict_batch(
                    list(rows["dialogue"][:2])
                )
            )
            == 2
        )


def test_5_layers_that_another_architecture_has():
    from peft import LoraConfig, get_peft_model

    with pytest.raises(ValueError, match="not found in the base model"):
        get_peft_model(toy("polyglot").model, LoraConfig(target_modules=["q_proj", "v_proj"]))
    half = get_peft_model(
        toy("polyglot").model, LoraConfig(target_modules=["q_proj", "query_key_value"])
    )  # no complaint
    assert {n.rsplit(".", 1)[-1] for n in half.targeted_module_names} == {"query_key_value"}
    for name in ("polyglot", "qwen3-4b", "solar"):
        model = toy(name).model
        adapted = {n.rsplit(".", 1)[-1] for n in add_lora(model, Recipe(method="lora")).targeted_module_names}
        assert adapted == (
            {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"}
            if name == "polyglot"
            else {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
        )
    with pytest.raises(DialsumError, match="q_proj"):
        targets(toy("polyglot").model, "q_proj,query_key_value")


def test_6_a_name_spelled_otherwise():
    for name in (
        "solar_10.7b",
        "solar-10.7b",
        "SOLAR-10.7B",
        "upstage/SOLAR-10.7B-Instruct-v1.0",
        "solar 10.7b",
    ):
        assert card(name).name == "solar-10.7b"
    with pytest.raises(DialsumError, match="did you mean 'solar-10.7b'"):
        card("solar-10.7")


def test_7_label_padding_in_what_is_decoded():
    codec = Codec(card("qwen3-4b"), toy("qwen3-4b").tokenizer)
    labels = [-100, -100, *codec.target("#Person1#은 안녕하다."), -100]
    with pytest.raises(OverflowError):
        codec.tokenizer.decode(labels)
    assert codec.text(labels) == "#Person1#은 안녕하다."


def test_8_an_error_that_comes_after_loading(tmp_path):
    "Ten gigabytes that break off: the header tells, nothing is read"
    folder, size = tmp_path / "qwen", 10 * 2**30
    shutil.copytree(replica(card("qwen3-4b")), folder)
    header = json.dumps(
        {"model.embed_tokens.weight": dict(dtype="BF16", shape=[size // 2], data_offsets=[0, size])}
    ).encode()
    with open(folder / "model.safetensors", "wb") as f:
        f.write(struct.pack("<Q", len(header)) + header)
        f.truncate(8 + len(header) + size - 1)  # a hole: no room on the disk
    before = psutil.Process().io_counters().read_chars
    [found] = check_folder(folder)
    assert "its header says" in found.what and psutil.Process().io_counters().read_chars - before < 10**6
    with pytest.raises(Exception, match="[Ss]afetensor|deserializ|header"):
        load(card("qwen3-4b"), str(folder))
    assert found in check_model(card("qwen3-4b"), "replica", {}, str(folder))


def test_9_logits_of_the_whole_evaluation_set(rows, tmp_path):
    from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

    loaded = toy("qwen3-4b")
    codec = Codec(loaded.card, loaded.tokenizer)
    made = [training_row(codec, d, s[0]) for d, s in zip(rows["dialogue"], rows["summaries"])]
    usual = Trainer(
        loaded.model,
        TrainingArguments(
            output_dir=str(tmp_path / "usual"),
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            remove_unused_columns=False,
        ),
        data_collator=DataCollatorForSeq2Seq(loaded.tokenizer),
        compute_metrics=lambda p: {"kept": p.predictions.shape[-1]},
        eval_dataset=made,
    )
    assert (
        usual.evaluate()["eval_kept"] == loaded.model.config.vocab_size
    )  # rows x tokens x vocabulary, all at once
    ours = make_trainer(
        loaded,
        codec,
        rows,
        rows,
        make_recipe(loaded.card, "replica", {}),
        tmp_path,
        Precision.for_this_machine(loaded.card, "replica"),
        True,
        print,
        lambda **f: None,
        None,
    )
    seen = []
    ours.write = lambda: seen.append(1) or dict(rouge_mean=1.0)
    out = ours.evaluation_loop(ours.get_eval_dataloader(), "x")
    assert out.predictions is None and out.label_ids is None and seen == [1]


def test_10_a_decoder_padded_on_the_right(rows):
    "What comes next is read off the last position: with padding there, it is no answer to the dialogue"
    loaded = toy("qwen3-4b")
    codec, texts = Codec(loaded.card, loaded.tokenizer), [rows["dialogue"][0], "#Person1#: 응."]
    short = codec.source(texts[1])
    width, pad = max(len(codec.source(t)) for t in texts), loaded.tokenizer.pad_token_id

    def next_scores(**batch):
        positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)  # as `generate` counts them
        with torch.inference_mode():
            return loaded.model(**batch, position_ids=positions).logits[:, -1]

    alone = next_scores(input_ids=torch.tensor([short]), attention_mask=torch.ones(1, len(short), dtype=int))
    mask, filled = [1] * len(short), [pad] * (width - len(short))
    right = next_scores(
        input_ids=torch.tensor([short + filled]), attention_mask=torch.tensor([mask + [0] * len(filled)])
    )
    assert (right - alone).abs().max() > 0.1
    predictor = Predictor(loaded, batch_size=2, decoding=Decoding(max_new_tokens=8))
    loaded.tokenizer.padding_side = "right"  # as training leaves it
    with predictor.reading([codec.source(t) for t in texts], predictor.decoding) as batch:
        ours = next_scores(**batch)
    assert torch.allclose(ours[1:], alone, atol=1e-3)


def test_11_a_loss_on_the_prompt_or_none_on_the_end():
    from transformers import DataCollatorForLanguageModeling

    for name in ("llama", "qwen3-4b", "solar", "polyglot", "kullm"):
        tokenizer = toy(name).tokenizer
        codec = Codec(card(name), tokenizer)
        row, answer = (
            training_row(codec, "#Person1#: 안녕?", "#Person1#이 인사한다."),
            codec.target("#Person1#이 인사한다."),
        )
        assert [i for i in row["labels"] if i >= 0] == answer and answer[-1] == tokenizer.eos_token_id
        if (
            tokenizer.pad_token_id == tokenizer.eos_token_id
        ):  # the usual collator: everything is learned but the end
            usual = DataCollatorForLanguageModeling(tokenizer, mlm=False)([dict(input_ids=row["input_ids"])])[
                "labels"
            ][0].tolist()
            assert usual[0] >= 0 and tokenizer.eos_token_id not in usual
    assert {
        n for n in ("llama", "solar") if toy(n).tokenizer.pad_token_id == toy(n).tokenizer.eos_token_id
    } == {"llama", "solar"}


def test_12_penalties_that_break_tags():
    from transformers import RepetitionPenaltyLogitsProcessor

    from dialsum.generation.decoding import penalty_processors, tag_pieces

    tokenizer = toy("qwen3-4b").tokenizer
    pieces, written = (
        tag_pieces(tokenizer),
        tokenizer("#Person1#은 #Person2#에게", add_special_tokens=False)["input_ids"],
    )
    ids, scores = torch.tensor([written]), torch.ones(1, 3008)
    assert (RepetitionPenaltyLogitsProcessor(2.0)(ids, scores.clone())[0, pieces] < 1).any()
    [ours] = penalty_processors(Decoding(repetition_penalty=2.0), pieces, 0)
    changed = ours(ids, scores)
    assert (changed[0, pieces] == 1).all() and (changed[0, [i for i in written if i not in pieces]] < 1).all()


def test_13_tags_that_vanish_or_get_a_blank(shared):
    from transformers import AutoTokenizer

    folder = next(
        p.parent
        for p in sorted((shared / "tokenizers").rglob("tokenizer.json"))
        if "kobart" in str(p).lower()
    )
    text = "#Person1#은 #PhoneNumber#로 전화한다."
    usual = AutoTokenizer.from_pretrained(folder)
    usual.add_special_tokens(
        dict(additional_special_tokens=["#Person1#", "#PhoneNumber#"]), replace_extra_special_tokens=False
    )
    assert "#Person1#" not in usual.decode(usual(text)["input_ids"], skip_special_tokens=True)
    mended = Codec(card("kobart"), usual)
    assert (
        not spoiled(mended, text)
        and not check_prompt(mended)
        and mended.text(usual(text)["input_ids"]) == text
    )
    from dialsum.models.loading import load_tokenizer

    codec = Codec(card("kobart"), load_tokenizer(card("kobart"), str(folder)))
    assert not spoiled(codec, text) and not check_prompt(codec)


def test_13_tags_as_special_tokens_of_a_replica():
    tokenizer, text = toy("qwen3-4b").tokenizer, "#Person1#은 #Person2#를 안다."
    tokenizer.add_special_tokens(
        dict(additional_special_tokens=["#Person1#"]), replace_extra_special_tokens=False
    )
    ids = tokenizer(text)["input_ids"]
    assert (
        "#Person1#" not in tokenizer.decode(ids, skip_special_tokens=True)
        and Codec(card("qwen3-4b"), tokenizer).text(ids) == text
    )


@pytest.mark.parametrize(
    ("name", "quantization"), [("qwen3-4b", ""), ("qwen3-4b", "nf4"), ("polyglot", "nf4"), ("llama", "")]
)
def test_14_new_tokens_under_an_adapter(name, quantization, rows, tmp_path):
    from peft import LoraConfig, PeftModel, get_peft_model

    method, dtype = ("qlora" if quantization else "lora"), "bfloat16" if quantization else "float32"
    loaded = toy(name, quantization=quantization, dtype=dtype)
    add_tokens(loaded, "#Person1#, #Person2#", method)
    assert len(loaded.tokenizer("#Person1#", add_special_tokens=False)["input_ids"]) == 1
    r = make_recipe(card(name), "replica", dict(method=method, epochs=1, new_tokens="#Person1#,#Person2#"))
    train(
        loaded,
        rows,
        rows.head(2),
        r,
        tmp_path,
        Precision.for_this_machine(card(name), "replica", method),
        say=lambda line: None,
    )
    again = load(card(name), str(tmp_path / "model"), quantization=quantization, dtype=dtype)
    text = "#Person1#은 #Person2#를 안다."
    assert Codec(card(name), again.tokenizer).target(text) == Codec(card(name), loaded.tokenizer).target(
        text
    ) and not spoiled(Codec(card(name), again.tokenizer))

    def trained(m):
        return {n: p for n, p in m.model.named_parameters() if p.requires_grad}

    assert set(trained(loaded)) == set(trained(again)) and any(
        "trainable_tokens" in n for n in trained(again)
    )
    for n, p in trained(loaded).items():
        assert torch.equal(p, trained(again)[n]), n
    ids = torch.tensor([Codec(card(name), again.tokenizer).source(rows["dialogue"][0])])
    with torch.inference_mode():
        a, b = (m.model.eval()(input_ids=ids).logits.float() for m in (loaded, again))
    assert (
        torch.equal(a, b)
        if not quantization
        else torch.nn.functional.cosine_similarity(a, b, dim=-1).min() > 0.99
    )  # four bits: norms were trained beside in float32, and come back in half precision
    if quantization:
        return
    usual = toy(name).model  # what is usually done: a larger embedding under the adapter
    usual.resize_token_embeddings(usual.get_input_embeddings().weight.shape[0] + 64, mean_resizing=False)
    get_peft_model(usual, LoraConfig(target_modules="all-linear")).save_pretrained(tmp_path / "usual")
    with pytest.raises(RuntimeError, match="size mismatch"):
        PeftModel.from_pretrained(toy(name).model, tmp_path / "usual")

    def size(folder):
        return (folder / "adapter_model.safetensors").stat().st_size

    assert size(tmp_path / "model") < size(tmp_path / "usual") / 4


def test_15_a_stage_that_was_skipped_in_silence(tmp_path):
    "A model that cannot start is a failure with its cause, and what waited for it is named, in facts and report"
    from dialsum.pipeline.plan import plan_stages
    from dialsum.pipeline.scheduler import run_plan
    from dialsum.report.document import write_report
    from dialsum.runs.facts import read_facts
    from dialsum.runs.folders import new_run

    run = new_run("skipped", dict(models=["qwen3-4b"], scale="replica"), tmp_path)
    specs = plan_stages(
        run,
        ["qwen3-4b"],
        dict(scale="replica", debug=True),
        checkpoints={"qwen3-4b": str(tmp_path / "nowhere")},
        rehearse=False,
    )
    run_plan([s for s in specs if s.stage not in ("submit", "report")], workers=2, say=lambda line: None)
    found = {(f.model, f.stage): f for f in read_facts(run)}
    error = found["qwen3-4b", "train"].error
    assert error.kind == "preflight" and "nowhere" in error_sentence(error) and error.cause and error.remedy
    assert {found["qwen3-4b", s].status for s in ("evaluate", "predict")} == {"blocked"} and found[
        None, "data"
    ].status == "success"
    text = write_report(run, tmp_path / "reports")[0].read_text(encoding="utf-8")
    assert all(
        words in text
        for words in (
            "Qwen3-4B 학습",
            "Qwen3-4B 평가·예측입니다",
            "nowhere",
            "시작하기 전 점검에서 발견",
        )
    )
