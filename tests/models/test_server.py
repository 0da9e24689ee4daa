"The engine of a server: it gets the very prompts of the model, and every option; what it cannot follow is refused"

import shutil
import threading

import pytest
from support.chat import quickly, serving, written  # noqa: F401
from support.toys import TAUGHT

from dialsum.data.dialogues import read
from dialsum.generation.decoding import Decoding
from dialsum.generation.factory import engine
from dialsum.generation.server import ServedModel
from dialsum.models.cards import card
from dialsum.models.checkpoints import locate
from dialsum.models.loading import load_tokenizer
from dialsum.models.prompts import Codec
from dialsum.runs.errors import DialsumError
from dialsum.runs.places import sample_path

QWEN = card("qwen3-4b")
ROWS = read(sample_path() / "dev.csv", summaries=True).head(6)
TEXTS, SUMMARIES = list(ROWS["dialogue"]), [summaries[0] for summaries in ROWS["summaries"]]
KEY_OPTION = ["--server-key-variable", "NO_SUCH_KEY"]
FOLDS = ["--k-folds", "2", "--ensemble-strategy", "mbr", "--ensemble-members", "folds"]
KNOWN = dict(zip(TEXTS, SUMMARIES))


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setattr("dialsum.generation.factory.cache_path", lambda: tmp_path)


def replica(c=QWEN):
    return locate(c, "replica")


def codec_of(c=QWEN):
    return Codec(c, load_tokenizer(c, replica(c)))


def made(server, c=QWEN, model="dialsum", **options):
    served = ServedModel(server.url, model, options.pop("key_variable", ""))
    options = dict(batch_size=4, decoding=Decoding(max_new_tokens=60)) | options
    return engine("server", c, options.pop("checkpoint", replica(c)), **options, served=served)


def answering(codec, of=KNOWN):
    "What replies with each dialogue's summary, as a server decodes it"
    known = {tuple(codec.source(text)): summary for text, summary in of.items()}
    return lambda n, asked, handler: written(f" {known[tuple(asked['prompt'])]}")


@pytest.mark.parametrize("name", [name for name in TAUGHT if not card(name).seq2seq])
def test_a_server_reads_what_the_model_was_trained_on(name):
    c = card(name)
    codec = codec_of(c)
    hostile = f"#Person1#: {codec.tokenizer.eos_token} <|im_end|>\n#Person2#: 😀 café"
    of = dict(zip([*TEXTS, hostile], [*SUMMARIES, "#Person2#가 웃는다."]))
    with serving(answering(codec, of)) as server:
        assert made(server, c).predict_batch(list(of)) == [" ".join(text.split()) for text in of.values()]
    prompts = {text: codec.source(text) for text in TEXTS}
    assert all(prompt in [asked["prompt"] for asked in server.seen] for prompt in prompts.values())
    begin = codec.tokenizer.bos_token or ""
    for text, prompt in prompts.items():  # byte for byte
        rendered = codec.tokenizer.decode(prompt, clean_up_tokenization_spaces=False)
        assert rendered.removeprefix(begin).lstrip() == codec.render(text).removeprefix(begin)


def test_every_option_is_spelled_out_and_control_tokens_are_taken_out():
    def reply(n, asked, handler):
        return written("<|im_start|>  #Person1#은\n#Person2#를 만난다.<|endoftext|>", "length")

    with serving(reply) as server:
        fast = made(server)
        assert fast.predict_batch(TEXTS[:1]) == ["#Person1#은 #Person2#를 만난다."] and fast.reached == [True]
        fast.predict_batch(TEXTS[:1] * 2, temperature=0.7, top_p=0.9, top_k=40, min_new_tokens=5)
    ends = sorted({fast.loaded.tokenizer.eos_token_id, codec_of().target(".")[-1]})
    greedy, *drawn = server.seen
    assert greedy == dict(
        model="dialsum",
        prompt=codec_of().source(TEXTS[0]),
        max_tokens=60,
        min_tokens=0,
        temperature=0,
        top_p=1,
        top_k=-1,
        min_p=0,
        repetition_penalty=1,
        stop_token_ids=ends,
        skip_special_tokens=False,
    )
    asked = dict(temperature=0.7, top_p=0.9, top_k=40, min_tokens=5)
    assert all(request == greedy | asked | dict(seed=request["seed"]) for request in drawn)
    assert sorted(request["seed"] for request in drawn) == [42, 43]  # two draws of one dialogue


def test_as_many_are_under_way_as_the_batch_is_large_and_none_is_asked_twice(tmp_path):
    together = threading.Barrier(3, timeout=20)

    def reply(n, asked, handler):
        together.wait()
        return answering(codec_of())(n, asked, handler)

    checkpoint = tmp_path / "model"
    shutil.copytree(replica(), checkpoint)
    with serving(reply) as server:
        fast = made(server, batch_size=3, checkpoint=str(checkpoint))
        assert fast.predict_batch(TEXTS) == fast.predict_batch(TEXTS) == SUMMARIES
        assert (len(server.seen), server.most) == (6, 3)
        (checkpoint / "model.safetensors").touch()  # trained again
        made(server, batch_size=3, checkpoint=str(checkpoint)).predict_batch(TEXTS)
        assert len(server.seen) == 12


def test_no_weights_are_read(tmp_path):
    shutil.copytree(replica(), tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    with serving(answering(codec_of())) as server:
        fast = made(server, checkpoint=str(tmp_path / "model"))
        assert fast.predict_batch(TEXTS[:2]) == SUMMARIES[:2]


@pytest.mark.parametrize(
    "options",
    [
        dict(num_beams=2),
        dict(repetition_penalty=1.2),
        dict(no_repeat_ngram_size=3),
        dict(suppress_tokens=[5]),
    ],
    ids=str,
)
def test_what_a_server_cannot_follow_is_refused(options):
    [name] = options
    with serving(answering(codec_of())) as server:
        with pytest.raises(DialsumError, match=f"server cannot follow {name} as"):
            made(server).predict_batch(TEXTS[:1], **options)
        if name != "suppress_tokens":
            with pytest.raises(DialsumError, match=f"server cannot follow {name} as"):
                made(server, decoding=Decoding(**options))
    assert not server.seen


def test_what_a_server_does_not_have_is_one_sentence():
    with serving(answering(codec_of())) as server:
        server.models = ["Qwen/Qwen3-4B"]
        with pytest.raises(DialsumError, match="has no model 'dialsum': it has Qwen/Qwen3-4B; name one"):
            made(server)
        with pytest.raises(DialsumError, match="kobart is an encoder-decoder"):
            made(server, card("kobart"))
        for lacking in (ServedModel(), ServedModel(server.url), ServedModel(model="dialsum")):
            with pytest.raises(DialsumError, match="give --server-url and --server-model"):
                engine("server", QWEN, replica(), served=lacking)
    with pytest.raises(DialsumError, match="^no server answers at http://127"):
        made(server)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "give --server-url and --server-model"),
        (["--server-model", "m"], "give --server-url"),
        (
            ["--server-url", "http://127.0.0.1:9", "--server-model", "m", "--num-beams", "4"],
            "follow --num-beams",
        ),
        (["--optimize-inference", "--server-url", "http://h", "--server-model", "m"], "nothing to choose"),
        (["--server-url", "http://h", "--server-model", "m", "--models", "kobart"], "encoder-decoder"),
        (["--server-url", "http://h", "--server-model", "m", "--models", "solar", "qwen3-4b"], "several"),
        (["--server-url", "http://me:secret@h/v1", "--server-model", "m"], "holds a user name"),
        (["--server-url", "http://h", "--server-model", "m", *KEY_OPTION], "unencrypted"),
        (["--server-url", "https://h", "--server-model", "m", *KEY_OPTION], "needs a key"),
        (["--server-url", "http://h", "--server-model", "m", *FOLDS], "wants those of folds"),
        (["--engine", "hf", "--server-url", "http://127.0.0.1:9"], "acts only with --engine server"),
        (["--engine", "hf", "--optimize-inference", "--optimization-method", "server"], "cannot be measured"),
        (["--engine", "continuous", "--num-beams", "2"], "the engine continuous cannot follow --num-beams"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused_before_anything_starts(options, words, tmp_path, capsys):
    from dialsum.cli import main

    runs = ["--runs", str(tmp_path / "runs")]
    models = [] if "--models" in options else ["--models", "qwen3-4b"]
    call = ["run", "--scale", "replica", "--engine", "server", *models, *options, *runs]
    assert main(call) == 2
    told = capsys.readouterr().err
    assert words in told and len(told.strip().splitlines()) == 1 and not (tmp_path / "runs").exists()


def test_the_command_line_predicts_with_a_server(tmp_path, capsys):
    from dialsum.cli import main

    ROWS[["fname", "dialogue"]].to_csv(tmp_path / "in.csv", index=False)
    files = ["--input", str(tmp_path / "in.csv"), "--output", str(tmp_path / "out.csv")]
    call = ["predict", "--checkpoint", replica(), "--model", "qwen3-4b", *files]
    assert main([*call, "--server-url", "http://127.0.0.1:9"]) == 2
    assert "--server-url acts only with --engine server" in capsys.readouterr().err
    with serving(answering(codec_of())) as server:
        named = ["--engine", "server", "--server-url", server.url, "--server-model", "dialsum"]
        assert main([*call, *named]) == 0
    assert SUMMARIES[0] in (tmp_path / "out.csv").read_text(encoding="utf-8")
    assert main([*call, *named[:-1], "m"]) == 2  # the server is gone
    assert capsys.readouterr().err.startswith("dialsum: no server answers at http://127")
