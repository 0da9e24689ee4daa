"What the tests of diagnosis share"

from dialsum.checks.diagnosis import diagnose
from dialsum.checks.failures import known_failures

SITE = "/opt/conda/lib/python3.11/site-packages"


def tb(last, *frames, script="train.py"):
    "A traceback through a script and a library, ending in a message"
    inner = "".join(
        f'  File "{SITE}/{path}", line {100 + i}, in {name}\n    {name}(*args)\n'
        for i, (path, name) in enumerate(f.split(" ") for f in frames)
    )
    return f'Traceback (most recent call last):\n  File "/home/u/{script}", line 40, in <module>\n    main()\n{inner}{last}\n'


def kinds(text, stage="", error=None):
    return [d.kind for d in diagnose(text, stage, error)]


OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB. GPU 0 has a total capacity of 23.64 GiB of which 1.02 GiB is free. Including non-PyTorch memory, this process has 22.61 GiB memory in use."


FP16 = "ValueError: Attempting to unscale FP16 gradients."


KNOWN = known_failures()


EXAMPLES = [(k.kind, text) for k in KNOWN for text in k.examples]
