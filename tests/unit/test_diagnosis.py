"""Messages as the libraries really print them, each to its own cause and to no other; and logs in which nothing went wrong, or nothing that is known.

What the installed libraries can be made to say is provoked here; the rest are texts of public issues (each entry's reference, or one like it)."""

import codecs
import io
import json
import re
import traceback
from re import _parser as parser

import pytest
from support.diagnosis import EXAMPLES, FP16, KNOWN, OOM, SITE, kinds, tb

from dialsum.checks.diagnosis import Diagnosis, catalogue, diagnose, diagnose_file, examine_file
from dialsum.checks.logs import read_log
from dialsum.runs.errors import DialsumError
from dialsum.runs.records import ErrorRecord

OLD_OOM = "RuntimeError: CUDA out of memory. Tried to allocate 128.00 MiB (GPU 0; 14.76 GiB total capacity; 13.50 GiB already allocated; 33.75 MiB free; 13.73 GiB reserved in total by PyTorch)"


KINDS = tuple(k.kind for k in KNOWN)


NEAR_MISSES = [(k.kind, text) for k in KNOWN for text in k.near_misses]


def told(text, tmp_path):
    "As a user would ask: a fact file by its name, anything else as a log"
    if not text.startswith('{"schema"'):
        return kinds(text)
    (tmp_path / "train.json").write_text(text)
    return [d.kind for d in diagnose_file(tmp_path / "train.json")]


@pytest.mark.parametrize(("kind", "text"), EXAMPLES, ids=[f"{i}-{k}" for i, (k, _) in enumerate(EXAMPLES)])
def test_each_message_has_its_own_cause_and_no_other(kind, text, tmp_path):
    assert told(text, tmp_path) == [kind]


@pytest.mark.parametrize(("kind", "text"), NEAR_MISSES)
def test_what_looks_alike_is_not_taken_for_it(kind, text, tmp_path):
    assert kind not in told(text, tmp_path)


def test_every_entry_is_hit_and_there_are_enough():
    assert (
        {k for k, _ in EXAMPLES} == set(KINDS)
        and len(KINDS) == len(set(KINDS)) >= 160
        and len(EXAMPLES) > 2 * len(KINDS)
    )
    assert [k.kind for k in KNOWN if len(set(k.examples)) < 2] == []  # wordings
    assert [k.kind for k in KNOWN if not k.near_misses] == []


@pytest.mark.parametrize("known", KNOWN, ids=KINDS)
def test_an_entry_is_complete(known):
    for text in (known.cause, known.remedy):
        assert re.search("[가-힣]{2}", text) and text.rstrip().endswith((".", ")"))
    assert (
        known.reference.startswith("https://")
        and known.severity in ("P0", "P1", "P2", "P3")
        and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", known.kind)
    )
    assert (known.type and known.message) or known.line
    assert "`" in known.remedy or known.kind == "dialsum-refusal"  # an option, a command, a line of code


def test_the_options_that_remedies_name_exist(typed):
    shown = "".join(typed(c, "--help").stdout for c in ("run", "stage", "predict", "preflight"))
    others = {
        "--ipc",
        "--shm-size",
        "--gpus",
        "--local-dir",
        "--index-url",
        "--user",
        "--name",
        "--execution-timeout",
        "--force-reinstall",
        "--no-build-isolation",
        "--help",
        "--start-timeout",
        "--nproc_per_node",
        "--master_port",
        "--rdzv-backend",
        "--rdzv-endpoint",
        "--port",
        "--time",
        "--requeue",
        "--version",
    }
    named = {o for k in KNOWN for o in re.findall(r"(?<![\w-])--[a-z][\w-]+", k.remedy)}
    assert len(named) > 20 and not {o for o in named - others if o not in shown}


def unbounded_repeats(pattern):
    "The parts of a pattern that repeat without end, with the parts within them"
    for operation, argument in pattern:
        if operation in (parser.MAX_REPEAT, parser.MIN_REPEAT) and argument[1] == parser.MAXREPEAT:
            yield argument[2]
        for part in inner_patterns(argument):
            yield from unbounded_repeats(part)


def inner_patterns(argument):
    if isinstance(argument, parser.SubPattern):
        yield argument
    elif isinstance(argument, (tuple, list)):
        for part in argument:
            yield from inner_patterns(part)


def is_safe(pattern):  # no repeat without end begins with one: what it matches can be split in one way only
    for repeated in unbounded_repeats(parser.parse(pattern)):
        inner = list(unbounded_repeats(repeated))
        ends_differ = len(repeated) > 1 and repeated[-1][0] in (parser.LITERAL, parser.IN)
        if inner and not ends_differ:
            return False
    return True


def test_a_pattern_that_takes_longer_and_longer_is_seen():
    assert not is_safe(r"(?:a+)+b") and not is_safe(r"(?:a|b*)*c")
    assert is_safe(r"(?:.|\n)*b") and is_safe(r"(?:\[[^\]]*\] )*b")


def alternatives(pattern):
    "The parts of a pattern of which each is tried by itself"
    if len(pattern) == 1 and pattern[0][0] is parser.BRANCH:
        return pattern[0][1][1]
    return [pattern]


def is_wildcard(pattern):  # it takes almost any character
    for operation, argument in pattern:
        if operation in (parser.ANY, parser.NOT_LITERAL):
            return True
        if operation is parser.IN and argument[0][0] is parser.NEGATE:
            return True
        if operation is parser.IN and "NOT" in str(argument[0][1]):  # \S, \D, \W
            return True
        if any(is_wildcard(part) for part in inner_patterns(argument)):
            return True
    return False


def wildcards_in_sequence(pattern):
    "How many wildcards without end can follow each other"
    count = 0
    for operation, argument in pattern:
        is_repeat = operation in (parser.MAX_REPEAT, parser.MIN_REPEAT)
        parts = [wildcards_in_sequence(part) for part in inner_patterns(argument)]
        if is_repeat and argument[1] == parser.MAXREPEAT and is_wildcard(argument[2]):
            count += 1
        else:
            count += max(parts, default=0)
    return count


def starts_once(pattern):  # at the beginning of the text
    return len(pattern) > 0 and pattern[0][0] is parser.AT


def is_short(pattern):  # from any start, two wildcards without end would share the text between them
    parts = alternatives(parser.parse(pattern))
    return all(starts_once(part) or wildcards_in_sequence(part) < 2 for part in parts)


def test_a_pattern_with_two_wildcards_from_any_start_is_seen():
    assert not is_short(r"401\b(?:.|\n)*(?:invalid.*key|no key)") and not is_short(r"b|a\S*b[^c]*d")
    assert (
        is_short(r"401\b(?s:.{0,400}?)invalid.{0,60}?key")
        and is_short(r"^(?!.*a).*b")
        and is_short("a.*|b.*")
    )


def test_no_pattern_takes_longer_and_longer():
    patterns = [p for k in KNOWN for p in (k.type, k.message, k.frame, k.near, k.line)]
    assert len(patterns) > 800 and [p for p in patterns if not is_safe(p)] == []
    searched = [p for k in KNOWN for p in (k.message, k.frame, k.near) if p]
    assert [p for p in searched if not is_short(p)] == []


def test_the_catalogue_is_a_table():
    table = catalogue()
    assert (
        list(table.columns) == ["kind", "severity", "cause", "remedy", "reference"]
        and tuple(table.kind) == KINDS
        and table.notna().all().all()
    )


# Nothing wrong, or nothing that is known

QUIET = {
    "empty": "",
    "blank": "\n\n  \n",
    "training": "{'loss': 2.5852, 'grad_norm': 4.1, 'learning_rate': 5e-06, 'epoch': 0.1}\n{'train_runtime': 1932.1, 'train_loss': 0.84}\nTraining completed.\n",
    "progress": " 10%|█         | 100/1000 [00:10<01:40,  9.3it/s]\r 20%|██        | 200/1000\r100%|██████████| 1000/1000\n",
    "warnings": "/usr/lib/python3/site-packages/torch/utils/checkpoint.py:31: UserWarning: None of the inputs have requires_grad=True. Gradients will be None\n  warnings.warn(\nFutureWarning: `resume_download` is deprecated and will be removed\n",
    "finance nan": "finance: 12 rows, nan in column price replaced by 0\n",
    "no errors": "Errors: 0, failures: 0\nRan 12 tests in 3.2s\n\nOK\n",
    "manual": "If you see RuntimeError: CUDA out of memory, lower the batch size.\n",
    "manual on its own line": "If you see this error:\nRuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB\nthen lower the batch size.\n",
    "markdown": "# Known problems\n- `CUDA out of memory. Tried to allocate`: use `--method qlora`\n- `Attempting to unscale FP16 gradients.`: trainable weights in fp32\n",
    "settings": 'on_error:\n  match: "CUDA out of memory"\n  message: "ValueError: Attempting to unscale FP16 gradients."\n',
    "code": "if 'CUDA out of memory' in str(e): retry()\nexcept torch.OutOfMemoryError: pass\n",
    "killed in prose": "Killed processes are restarted by the supervisor.\nThe process was not Killed\nAll done.\n",
    "Killed by a pipeline and gone on": "Killed\nrestarting the worker\nepoch 2\nepoch 3\n",
    "retried": tb(OOM, "torch/nn/modules/linear.py forward")
    + "Batch 16 does not fit; retrying with batch size 8\n100%|██████████| 200/200\nTraining completed, model saved.\n",
    "retried, told in one line": f"{OOM}\nhalving the batch size to 4 and trying again\nepoch 1 of 1\nTraining finished successfully.\n",
    "retried in Korean": tb(OOM)
    + "배치 크기를 줄여 다시 시도합니다: 8\nepoch 1\n학습 완료, 모델을 저장했습니다.\n",
    "http retries": '2026-11-20 10:00:00 - INFO - httpx - HTTP Request: POST https://api.upstage.ai/v1/chat/completions "HTTP/1.1 429 Too Many Requests"\n2026-11-20 10:00:00 - INFO - openai._base_client - Retrying request to /chat/completions in 0.5 seconds\n2026-11-20 10:00:02 - INFO - httpx - HTTP Request: POST https://api.upstage.ai/v1/chat/completions "HTTP/1.1 200 OK"\n',
    "a test's log": f"tests/test_steps.py::test_no_memory PASSED\nERROR steps:steps.py:12 the step failed\n{tb(OOM, 'torch/nn/modules/linear.py forward')}PASSED   [ 50%]\ntests/test_steps.py::test_two PASSED   [100%]\n========= 2 passed in 1.12s =========\n",
    "an expected failure": f"E   {FP16}\n======== 1 xfailed in 0.2s ========\n",
    "a quiet test": f"{tb(FP16, 'torch/amp/grad_scaler.py _unscale_grads_')}4 passed, 1 warning in 0.31s\n",
    "unittest": f"test_key (tests.Keys.test_key) ... {dict(EXAMPLES)['api-quota'].strip()}\nok\n\n------\nRan 3 tests in 0.2s\n\nOK (skipped=1)\n",
    "an evaluation that was skipped": f"ERROR the evaluation of row 12 failed, skipping it\n{tb(OOM, 'torch/nn/modules/linear.py forward')}"
    + "{'loss': 1.1}\n" * 20
    + "{'train_runtime': 31.2, 'train_loss': 1.1}\nTraining completed\n",
    "a batch that was skipped": f"{tb(OOM, 'torch/nn/modules/linear.py forward')}batch 31 skipped\nepoch 2 of 2\nTraining completed\n",
    "ignored": 'Predictions saved.\nException ignored in: <function _ConnectionBase.__del__ at 0x7f>\nTraceback (most recent call last):\n  File "/usr/lib/python3.11/multiprocessing/connection.py", line 132, in __del__\n    self._close()\nOSError: [Errno 9] Bad file descriptor\n',
    "logging error": '--- Logging error ---\nTraceback (most recent call last):\n  File "/usr/lib/python3.11/logging/__init__.py", line 1110, in emit\n    msg = self.format(record)\nTypeError: not all arguments converted during string formatting\nCall stack:\n  File "x.py", line 1, in <module>\nMessage: \'x\'\nArguments: (1,)\nDone.\n',
    "json lines": '{"event": "beat", "stage": "train", "done": 3}\n{"event": "end", "status": "success"}\n',
    "one grad overflow": "{'loss': 1.23, 'grad_norm': nan, 'learning_rate': 2e-05, 'epoch': 0.1}\n{'loss': 1.20, 'grad_norm': 2.1, 'learning_rate': 2e-05, 'epoch': 0.2}\n",
    "pip": "Collecting torch\nSuccessfully installed torch-2.13.0\n",
    "dialogue": "#Person1#: 서버에서 Out of memory: Killed process 라는 말을 봤어요.\n#Person2#: 메모리가 모자라서 그래요.\n",
    "papermill": "Input Notebook:  train.ipynb\nOutput Notebook: out.ipynb\nExecuting: 100%|██████████| 12/12 [00:20<00:00,  1.70s/cell]\n",
    "nvidia-smi": "| NVIDIA-SMI 555.85                 Driver Version: 555.85         CUDA Version: 12.5     |\n|   0  NVIDIA GeForce RTX 3090  |   1076MiB /  24576MiB |\n",
    "traceback in prose": 'The output begins with "Traceback (most recent call last)" when something fails.\nNothing failed here.\n',
}


@pytest.mark.parametrize("name", QUIET)
def test_a_log_with_nothing_wrong(name):
    assert diagnose(QUIET[name]) == []


UNKNOWN = {
    "name": tb("NameError: name 'tokenzier' is not defined. Did you mean: 'tokenizer'?"),
    "syntax": '  File "train.py", line 3\n    def f(:\n          ^\nSyntaxError: invalid syntax\n',
    "syntax in a traceback": tb("SyntaxError: invalid syntax", script="a.py"),
    "indentation": tb("IndentationError: unexpected indent"),
    "key": tb("KeyError: 'sumary'"),
    "key of our name": tb("KeyError: 'summary'"),
    "index": tb("IndexError: list index out of range"),
    "attribute": tb("AttributeError: 'Trainer' object has no attribute 'trian'"),
    "float attribute": tb("AttributeError: 'float' object has no attribute 'item'"),
    "type": tb("TypeError: unsupported operand type(s) for +: 'int' and 'str'"),
    "argument": tb("TypeError: main() got an unexpected keyword argument 'epoch'"),
    "own dtype": tb("TypeError: train() got an unexpected keyword argument 'dtype'"),
    "value": tb("ValueError: invalid literal for int() with base 10: 'a'"),
    "zero": tb("ZeroDivisionError: division by zero"),
    "assertion": tb("AssertionError"),
    "recursion": tb("RecursionError: maximum recursion depth exceeded"),
    "module": tb("ModuleNotFoundError: No module named 'utils'"),
    "import typo": tb(
        f"ImportError: cannot import name 'AutoModelForCasualLM' from 'transformers' ({SITE}/transformers/__init__.py)"
    ),
    "file": tb("FileNotFoundError: [Errno 2] No such file or directory: 'trian.csv'"),
    "permission": tb("PermissionError: [Errno 13] Permission denied: '/etc/x'"),
    "port": tb("OSError: [Errno 98] Address already in use"),
    "decode of another": tb(
        "OverflowError: out of range integral type conversion attempted", "PIL/Image.py putpixel"
    ),
    "embedding of another": tb("IndexError: index out of range in self", "mylib/ring.py get"),
    "quoted oom": tb("ValueError: expected a message like 'CUDA out of memory. Tried to allocate'"),
    "oom as a key": tb("KeyError: 'CUDA out of memory. Tried to allocate 2 GiB'"),
    "assert on text": tb("AssertionError: 'Attempting to unscale FP16 gradients.' not in log"),
    "stop": tb("StopIteration"),
    "json": tb("json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)"),
    "timeout of another": tb("TimeoutError: the database did not answer"),
    "inotify": tb("OSError: [Errno 28] inotify watch limit reached"),
    "labels of another dtype": tb(
        "RuntimeError: expected scalar type Long but found Float", "torch/nn/functional.py cross_entropy"
    ),
    "import typo in a notebook": f"Traceback (most recent call last):\n  File \"{SITE}/IPython/core/interactiveshell.py\", line 3577, in run_code\n    exec(code_obj)\n  File \"/home/u/train.py\", line 3, in <module>\n    from transformers import Trainr\nImportError: cannot import name 'Trainr' from 'transformers' ({SITE}/transformers/__init__.py)\n",
    "argument typo": tb(
        "TypeError: TrainingArguments.__init__() got an unexpected keyword argument 'learning_rat'"
    ),
    "hub token": tb(
        "requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://huggingface.co/api/whoami-v2",
        "requests/models.py raise_for_status",
    ),
    "exit 401": tb("RuntimeError: room 401 is taken"),
    "own class": tb("my.module.Problem: something of ours"),
    "hub 404": tb(
        "requests.exceptions.HTTPError: 404 Client Error: Not Found for url: https://example.com/x"
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_error_that_nobody_knows_gets_no_cause(name):
    found = diagnose(UNKNOWN[name])
    if name == "syntax":
        assert {d.kind for d in found} <= {"unknown"}
        return  # nothing but a line of a compiler
    (d,) = found
    last = UNKNOWN[name].strip().splitlines()[-1]
    assert (
        d.kind == "unknown"
        and "알 수 없" in d.cause
        and d.reference == ""
        and re.search("[가-힣]", d.remedy)
        and d.evidence[-1] == last
        and len(d.evidence) == 2
    )


# Chains, groups, colours, processes


def test_the_root_of_a_chain_counts_and_the_last_is_told():
    for between in (
        "\nDuring handling of the above exception, another exception occurred:\n\n",
        "\nThe above exception was the direct cause of the following exception:\n\n",
    ):
        (d,) = diagnose(
            tb(OOM, "torch/nn/modules/linear.py forward")
            + between
            + tb("RuntimeError: training failed, see above", "mylib/run.py go")
        )
        assert d.kind == "memory-cuda" and any("training failed" in e for e in d.evidence)
        assert kinds(tb(OOM) + between + dict(EXAMPLES)["tokenizer-pad-missing"]) == [
            "memory-cuda"
        ]  # both are known
        (d,) = diagnose(
            tb("KeyError: 'qwen3'", "transformers/models/auto/configuration_auto.py __getitem__")
            + between
            + dict(EXAMPLES)["version-model-type"]
        )
        assert d.kind == "version-model-type" and "qwen3" in d.cause
        (d,) = diagnose(tb("KeyError: 'a'") + between + tb("ValueError: b"))
        assert d.kind == "unknown" and d.evidence[1:] == ("KeyError: 'a'", "ValueError: b")
        assert [
            f.name
            for f in read_log(
                io.StringIO(
                    tb("KeyError: 'a'") + between + tb("ValueError: b") + between + tb("TypeError: c")
                )
            )[0][0].links
        ] == ["KeyError", "ValueError", "TypeError"]


def test_groups_and_wrappers():
    try:
        raise ExceptionGroup(
            "two workers",
            [ValueError("Attempting to unscale FP16 gradients."), OSError(28, "No space left on device")],
        )
    except ExceptionGroup:
        text = traceback.format_exc()
    assert kinds(text) == ["disk-full", "precision-scaler-fp16"]
    worker = f'ray.exceptions.RayTaskError(ValueError): ray::train() (pid=22053, ip=127.0.0.1)\n  File "{SITE}/torch/amp/grad_scaler.py", line 260, in _unscale_grads_\n    raise ValueError("…")\n{FP16}\n'
    assert kinds(tb(worker.rstrip(), "ray/_private/worker.py get")) == ["precision-scaler-fp16"]
    pool = f'multiprocessing.pool.RemoteTraceback: \n"""\n{tb(FP16)}"""\n\nThe above exception was the direct cause of the following exception:\n\n{tb(FP16)}'
    assert kinds(pool) == ["precision-scaler-fp16"]
    loader = (
        tb("OSError: Caught OSError in DataLoader worker process 0.", "torch/_utils.py reraise")
        + "Original "
        + tb("OSError: [Errno 24] Too many open files: 'x'", "torch/utils/data/_utils/worker.py _worker_loop")
    )
    assert kinds(loader) == ["disk-open-files"]
    assert kinds(
        tb(FP16)
        + tb(
            "subprocess.CalledProcessError: Command '['python', 'train.py']' returned non-zero exit status 1.",
            "accelerate/commands/launch.py simple_launcher",
        )
    ) == ["precision-scaler-fp16"]
    engine = tb(
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
        "vllm/v1/engine/utils.py wait_for_engine_startup",
    )
    assert kinds(dict(EXAMPLES)["memory-vllm-cache"] + engine) == ["memory-vllm-cache"]
    assert kinds(
        tb("torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \ntrain.py FAILED")
    ) == ["unknown"]  # all that there is


@pytest.mark.parametrize(
    "prefix",
    [
        "[rank0]: ",
        "[rank1]:",
        "(RayTrainWorker pid=2201) ",
        "(train pid=2201, ip=10.0.0.2) ",
        "[default0]:",
        "2026-11-20T10:15:00.123Z ",
        "2026-11-20 10:15:00,123 - ",
        "trainer-1  | ",
        "textgen-server  | ",
        "\x1b[36m(pid=3)\x1b[0m ",
    ],
)
def test_a_prefix_before_every_line(prefix):
    if prefix.startswith("\x1b"):
        prefix = prefix.replace("(pid", "(RayTrainWorker pid")
    text = "".join(
        prefix + line + "\n" for line in (tb(FP16, "torch/amp/grad_scaler.py _unscale_grads_")).splitlines()
    )
    (failure,), _ = read_log(io.StringIO(text))
    assert len(failure.frames) == 2 and kinds(text) == ["precision-scaler-fp16"]


def test_processes_that_write_at_the_same_time():
    first = [f"[rank0]: {line}" for line in tb(FP16, "torch/amp/grad_scaler.py _unscale_grads_").splitlines()]
    second = [f"[rank1]: {line}" for line in tb(OOM, "torch/nn/modules/linear.py forward").splitlines()]
    text = "\n".join(line for pair in zip(first, second) for line in pair) + "\n"
    found, _ = read_log(io.StringIO(text))
    assert [len(f.frames) for f in found] == [2, 2] and set(kinds(text)) == {
        "precision-scaler-fp16",
        "memory-cuda",
    }
    spawned = [
        "Process SpawnProcess-1:",
        "Process SpawnProcess-2:",
        *(line for line in tb(FP16, "torch/amp/grad_scaler.py _unscale_grads_").splitlines() for _ in "12"),
    ]
    assert kinds("\n".join(spawned) + "\n") == ["precision-scaler-fp16"]
    elastic = text + tb(
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n====\ntrain.py FAILED\n",
        "torch/distributed/launcher/api.py launch_agent",
    )
    assert set(kinds(elastic)) == {"precision-scaler-fp16", "memory-cuda"}


# Several errors, order, facts


def test_several_errors_the_most_important_first():
    by = dict(EXAMPLES)
    text = (
        by["tokenizer-pad-missing"]
        + "epoch 2\n"
        + tb("KeyError: 'x'")
        + by["disk-full"]
        + by["checkpoint-truncated"]
        + by["memory-cuda"]
    )
    assert kinds(text) == [
        "memory-cuda",
        "disk-full",
        "checkpoint-truncated",
        "unknown",
        "tokenizer-pad-missing",
    ]
    assert kinds(by["memory-cuda"] * 3) == ["memory-cuda"]
    failed_three_times = (tb(OOM) + "retrying (attempt 2 of 3)\n") * 2 + tb(OOM)
    assert kinds(failed_three_times) == ["memory-cuda"]  # the last attempt failed as well
    assert kinds(
        tb(OOM) + "kobart failed; going on with the other models\n[2/3] qwen3-4b  success\nreport written\n"
    ) == ["memory-cuda"]


@pytest.mark.parametrize(
    "after",
    [
        "====== 1 failed, 2 passed in 3.21s ======\n",
        "Ran 2 tests in 0.1s\n\nFAILED (errors=1)\n",
        "train failed, skipping predict and submit\nreport saved to runs/a\n",
        "3 passed in the second round\n",
    ],
)
def test_what_was_not_survived_is_told(after):
    assert kinds(tb(OOM, "torch/nn/modules/linear.py forward") + after) == ["memory-cuda"]
    assert kinds("==== 3 passed in 3.21s ====\n" + tb(OOM) + after) == ["memory-cuda"]


def test_evidence_is_of_the_error_alone():
    for after in ("PASSED   [ 66%]", "ok", "{'loss': 1.2, 'epoch': 0.1}", "tests/test_a.py::test_b PASSED"):
        (d,) = diagnose(tb("KeyError: 'sumary'") + after + "\nmore\n")
        assert d.evidence[-1] == "KeyError: 'sumary'", after
    (d,) = diagnose(tb("KeyError: 'sumary'\b\b").replace("KeyError", " 50%\b\b\b\bKeyError"))
    assert d.evidence[-1] == "KeyError: 'sumary'"


def test_of_a_long_message_the_beginning_and_the_end_are_judged():
    names = ", ".join(f'"layers.{i}.weight"' for i in range(120))
    (d,) = diagnose(
        tb(
            f"RuntimeError: Error(s) in loading state_dict:\nMissing key(s): {names}\n\tsize mismatch for lm_head.weight: copying a param"
        )
    )
    assert d.kind == "checkpoint-vocabulary"
    assert kinds(tb(f"RuntimeError: {'x' * 1500}CUDA out of memory. Tried to allocate{'x' * 1500}")) == [
        "unknown"
    ]


def test_numbers_are_told():
    (d,) = diagnose(tb(OOM))
    assert "2.32 GiB" in d.cause and "23.64 GiB" in d.cause and "1.02 GiB" in d.cause
    assert (
        "33.75 MiB" in diagnose(tb(OLD_OOM))[0].cause and "3" in diagnose(dict(EXAMPLES)["data-csv"])[0].cause
    )


def test_facts_tell_the_stage_and_the_error():
    error = ErrorRecord.of(kind="exception", type="OutOfMemoryError", message=OOM.partition(": ")[2])
    assert kinds("", "train", error) == ["memory-cuda"]
    assert kinds("", "evaluate", error) == ["memory-cuda-evaluation"]
    assert kinds(tb(OOM), "train", error) == ["memory-cuda"] and kinds("") == []
    assert kinds("", "train", ErrorRecord.of(type="Oddity", message="nobody knows")) == ["unknown"]


def test_a_diagnosis_has_its_fields():
    (d,) = diagnose(tb(OOM))
    assert (
        isinstance(d, Diagnosis)
        and list(d.to_dict()) == ["kind", "cause", "remedy", "severity", "reference", "evidence"]
        and json.dumps(d.to_dict())
    )
    assert d.evidence[0] == "/home/u/train.py:40 in <module>" and d.evidence[-1].startswith(
        "torch.OutOfMemoryError: CUDA out of memory"
    )


# Files


def test_files_of_every_kind(tmp_path):
    (tmp_path / "a.log").write_text(tb(FP16))
    (tmp_path / "wide.log").write_bytes(codecs.BOM_UTF16_LE + tb(FP16).encode("utf-16-le"))
    (tmp_path / "bytes.log").write_bytes("안녕".encode("cp949") * 20 + b"\xff\xfe\n" + tb(FP16).encode())
    (tmp_path / "dos.log").write_bytes(tb(FP16).replace("\n", "\r\n").encode())
    (tmp_path / "events.jsonl").write_text('{"event": "start"}\n{"event": "end"}\n' + tb(FP16))
    for name in ("a.log", "wide.log", "bytes.log", "dos.log", "events.jsonl"):
        assert [d.kind for d in diagnose_file(tmp_path / name)] == ["precision-scaler-fp16"], name
    (tmp_path / "empty.log").write_text("")
    assert diagnose_file(tmp_path / "empty.log") == []


def test_a_fact_file_and_its_traceback(tmp_path):
    error = dict(
        kind="exception", type="RuntimeError", message="it failed", traceback="errors/kobart_train.log"
    )
    fact = dict(schema=1, status="failed", stage="train", error=error)
    path = tmp_path / "kobart" / "train.json"
    for folder in (path.parent, tmp_path / "errors"):
        folder.mkdir()
    path.write_text(json.dumps(fact))
    assert [d.kind for d in diagnose_file(path)] == ["unknown"]
    (tmp_path / "errors" / "kobart_train.log").write_text(
        tb(OOM)
        + "\nDuring handling of the above exception, another exception occurred:\n\n"
        + tb("RuntimeError: it failed")
    )
    assert [d.kind for d in diagnose_file(path)] == ["memory-cuda"]
    path.write_text(json.dumps(dict(fact, status="success", error=None)))
    assert diagnose_file(path) == []


@pytest.mark.parametrize(
    ("text", "line", "unknown"),
    [
        (
            "2026-11-20 10:00:00 - ERROR - step 3 ended in FrobError here\nbye\n",
            "ERROR - step 3 ended in FrobError here",
            True,
        ),
        (tb("my.module.Problem: something of ours"), "Traceback (most recent call last):", True),
        (tb("KeyError: 'sumary'"), "KeyError: 'sumary'", True),
        (json.dumps(dict(msg="it was a FrobError", level="error")) + "\n", "it was a FrobError", True),
        (tb(OOM), OOM, False),
        (tb(OOM) + "retrying with half the batch\nTraining completed\n", OOM, False),
        (f"If you see this error:\n{OOM}\nlower the batch size\n", OOM, False),
        (
            tb("FrobError: no") + "retrying with half the batch\nTraining completed\n",
            "FrobError: no",
            True,
        ),
        ("epoch 1\nepoch 2\n", "", False),
        (
            "Mean Squared Error: 0.44\nWord Error Rate 0.2\nNo errors found. ErrorHandler installed.\n",
            "",
            False,
        ),
    ],
)
def test_an_error_that_nobody_knows_is_said_with_its_last_line(text, line, unknown, tmp_path):
    (tmp_path / "run.log").write_text(text)
    examination = examine_file(tmp_path / "run.log")
    assert (examination.error_line, examination.unknown) == (line, unknown)


def test_files_that_cannot_be_read(tmp_path):
    (tmp_path / "x.safetensors").write_bytes(
        (1000).to_bytes(8, "little") + b'{"__metadata__": {}}' + bytes(5000)
    )
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(32)) * 50)
    (tmp_path / "torn.ipynb").write_text('{"cells": [{"cell_type": "code", "outp')
    for name, words in (
        ("none.log", "no file"),
        (".", "no file"),
        ("x.safetensors", "no text"),
        ("x.png", "no text"),
        ("torn.ipynb", "cut off"),
    ):
        with pytest.raises(DialsumError, match=words) as caught:
            diagnose_file(tmp_path / name)
        assert "\n" not in str(caught.value)
