"""Messages as the libraries really print them, each to its own cause and to no other; and logs in which nothing went wrong, or nothing that is known.

What the installed libraries can be made to say is provoked here; the rest are texts of public issues (each entry's reference, or one like it)."""

import codecs
import io
import json
import os
import re
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from dialsum.checks.diagnosis import _KNOWN, KINDS, Diagnosis, catalogue, diagnose, diagnose_file, read
from dialsum.runs.errors import DialsumError
from dialsum.runs.time_limits import TimeLimit

SITE = "/opt/conda/lib/python3.11/site-packages"


def tb(last, *frames, script="train.py"):
    "A traceback through a script and a library, ending in a message"
    inner = "".join(
        f'  File "{SITE}/{path}", line {100 + i}, in {name}\n    {name}(*args)\n'
        for i, (path, name) in enumerate(f.split(" ") for f in frames)
    )
    return f'Traceback (most recent call last):\n  File "/home/u/{script}", line 40, in <module>\n    main()\n{inner}{last}\n'


def kinds(text, facts=None):
    return [d.kind for d in diagnose(text, facts)]


OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB. GPU 0 has a total capacity of 23.64 GiB of which 1.02 GiB is free. Including non-PyTorch memory, this process has 22.61 GiB memory in use."
OLD_OOM = "RuntimeError: CUDA out of memory. Tried to allocate 128.00 MiB (GPU 0; 14.76 GiB total capacity; 13.50 GiB already allocated; 33.75 MiB free; 13.73 GiB reserved in total by PyTorch)"
FP16 = "ValueError: Attempting to unscale FP16 gradients."
ASSERT = "../aten/src/ATen/native/cuda/Indexing.cu:1284: indexSelectLargeIndex: block: [134,0,0], thread: [31,0,0] Assertion `srcIndex < srcSelectDimSize` failed.\n"
DEVICE = "RuntimeError: CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.\nFor debugging consider passing CUDA_LAUNCH_BLOCKING=1.\n"
API = "Error code: 429 - {'error': {'message': 'You exceeded your current quota, please check your plan and billing details.', 'type': 'insufficient_quota', 'param': None, 'code': 'insufficient_quota'}}"
NCCL = "[rank0]:[E321 02:07:08.408271257 ProcessGroupNCCL.cpp:607] [Rank 0] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=1580, OpType=ALLREDUCE, NumelIn=466119168, NumelOut=466119168, Timeout(ms)=600000) ran for 600060 milliseconds before timing out.\n"

EXAMPLES = [  # kind, text
    (
        "precision-scaler-bf16",
        tb(
            "RuntimeError: \"_amp_foreach_non_finite_check_and_unscale_cuda\" not implemented for 'BFloat16'",
            "transformers/trainer.py _inner_training_loop",
            "torch/amp/grad_scaler.py _unscale_grads_",
        ),
    ),
    (
        "precision-scaler-bf16",
        "NotImplementedError: \"_amp_foreach_non_finite_check_and_unscale_cuda\" not implemented for 'BFloat16'\n",
    ),
    (
        "precision-scaler-fp16",
        tb(FP16, "accelerate/accelerator.py unscale_gradients", "torch/amp/grad_scaler.py _unscale_grads_"),
    ),
    (
        "precision-dtype-clash",
        tb(
            "RuntimeError: expected scalar type Half but found Float",
            "peft/tuners/lora.py forward",
            "torch/nn/modules/linear.py forward",
        ),
    ),
    (
        "precision-dtype-clash",
        tb(
            "RuntimeError: mat1 and mat2 must have the same dtype, but got Float and Half",
            "torch/nn/modules/linear.py forward",
        ),
    ),
    (
        "precision-loss-nan",
        "{'loss': 0.1459, 'grad_norm': 5.28, 'learning_rate': 0.00026, 'epoch': 5.36}\n{'loss': 0.0, 'grad_norm': nan, 'learning_rate': 0.00026, 'epoch': 5.38}\n",
    ),
    ("precision-loss-nan", "{'loss': 'nan', 'grad_norm': 'nan', 'learning_rate': '2e-05', 'epoch': '1'}\n"),
    (
        "precision-bf16-unsupported",
        tb(
            "ValueError: Your setup doesn't support bf16/gpu. You need to assign use_cpu if you want to train the model on CPU.",
            "transformers/training_args.py _validate_args",
        ),
    ),
    (
        "memory-cuda",
        tb(OOM, "transformers/models/llama/modeling_llama.py forward", "torch/nn/modules/linear.py forward"),
    ),
    (
        "memory-cuda",
        tb(OLD_OOM, "transformers/trainer.py training_step", "torch/nn/modules/linear.py forward"),
    ),
    (
        "memory-cuda-evaluation",
        tb(
            OOM,
            "transformers/trainer.py evaluate",
            "transformers/trainer.py evaluation_loop",
            "transformers/trainer_pt_utils.py nested_concat",
        ),
    ),
    (
        "memory-cpu",
        tb(
            "RuntimeError: [enforce fail at alloc_cpu.cpp:75] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 268435456 bytes. Error code 12 (Cannot allocate memory)",
            "transformers/modeling_utils.py from_pretrained",
        ),
    ),
    (
        "memory-cpu",
        tb(
            "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 74.5 GiB for an array with shape (100000, 100000) and data type float64"
        ),
    ),
    (
        "memory-killed",
        "[1234567.8901] Out of memory: Killed process 14750 (python) total-vm:61348352kB, anon-rss:31457280kB, file-rss:0kB\n",
    ),
    ("memory-killed", "Loading checkpoint shards:  66%|██████▋   | 2/3\nKilled\n"),
    (
        "memory-killed",
        "epoch 1\n./train.sh: line 3: 22053 Killed                  python train.py --epochs 20\n",
    ),
    (
        "memory-killed",
        tb(
            "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n============================================================\ntrain.py FAILED\nFailures:\n  <NO_OTHER_FAILURES>\nRoot Cause (first observed failure):\n[0]:\n  rank      : 0 (local_rank: 0)\n  exitcode  : -9 (pid: 14750)\n  traceback : Signal 9 (SIGKILL) received by PID 14750",
            "torch/distributed/launcher/api.py launch_agent",
            script="torchrun",
        ),
    ),
    (
        "memory-killed",
        tb("subprocess.CalledProcessError: Command '['python', 'train.py']' died with <Signals.SIGKILL: 9>."),
    ),
    (
        "memory-cublas",
        tb(
            "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "torch/nn/modules/linear.py forward",
        ),
    ),
    (
        "memory-shm",
        tb(
            "RuntimeError: DataLoader worker (pid 46794) is killed by signal: Bus error. It is possible that dataloader's workers are out of shared memory. Please try to raise your shared memory limit.",
            "torch/utils/data/_utils/signal_handling.py handler",
        ),
    ),
    (
        "memory-shm",
        "ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shared memory (shm).\n",
    ),
    (
        "memory-worker-killed",
        tb(
            "RuntimeError: DataLoader worker (pid(s) 21510) exited unexpectedly",
            "torch/utils/data/dataloader.py _try_get_data",
        ),
    ),
    ("memory-bus-error", "bash: line 1: 22055 Bus error               python predict.py\n"),
    (
        "offload-folder",
        tb(
            "ValueError: The current `device_map` had weights offloaded to the disk. Please provide an `offload_folder` for them. Alternatively, make sure you have `safetensors` installed if the model you are using offers the weights in this format.",
            "transformers/modeling_utils.py _load_pretrained_model",
        ),
    ),
    (
        "offload-quantized",
        tb(
            "ValueError: \n                        Some modules are dispatched on the CPU or the disk. Make sure you have enough GPU RAM to fit\n                        the quantized model.",
            "transformers/modeling_utils.py from_pretrained",
        ),
    ),
    (
        "offload-meta",
        tb(
            "NotImplementedError: Cannot copy out of meta tensor; no data! Please use torch.nn.Module.to_empty() instead of torch.nn.Module.to() when moving module from meta to a different device.",
            "torch/nn/modules/module.py convert",
        ),
    ),
    (
        "device-mismatch",
        tb(
            "RuntimeError: Input type (torch.cuda.FloatTensor) and weight type (torch.FloatTensor) should be the same",
            "torch/nn/modules/conv.py forward",
        ),
    ),
    (
        "precision-dtype-clash",
        tb(
            "RuntimeError: Input type (torch.cuda.FloatTensor) and weight type (torch.cuda.HalfTensor) should be the same",
            "torch/nn/modules/conv.py forward",
        ),
    ),
    (
        "precision-dtype-clash",
        tb(
            "RuntimeError: Input type (float) and bias type (c10::Half) should be the same",
            "torch/nn/modules/conv.py forward",
        ),
    ),
    ("memory-killed", "2026-11-20T10:15:00.1Z ##[error]Process completed with exit code 137.\n"),
    (
        "network-hub",
        tb(
            "requests.exceptions.ReadTimeout: (ReadTimeoutError(\"HTTPSConnectionPool(host='huggingface.co', port=443): Read timed out. (read timeout=10)\"), '(Request ID: 4f)')",
            "huggingface_hub/file_download.py http_get",
            "requests/adapters.py send",
        ),
    ),
    (
        "offload-folder",
        "2024-06-10 17:54:07 | ERROR | stderr | ValueError: The current `device_map` had weights offloaded to the disk. Please provide an `offload_folder` for them.\n",
    ),
    (
        "device-mismatch",
        tb(
            "RuntimeError: Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! (when checking argument for argument index in method wrapper_CUDA__index_select)",
            "torch/nn/functional.py embedding",
        ),
    ),
    (
        "tokenizer-token-type-ids",
        tb(
            "ValueError: The following `model_kwargs` are not used by the model: ['token_type_ids'] (note: typos in the generate arguments will also show up in this list)",
            "transformers/generation/utils.py _validate_model_kwargs",
        ),
    ),
    (
        "tokenizer-backend",
        tb(
            "ImportError: \nT5Tokenizer requires the SentencePiece library but it was not found in your environment. Check out the instructions on the\ninstallation page of its repo: https://github.com/google/sentencepiece#installation and follow the ones\nthat match your environment.",
            "transformers/utils/import_utils.py requires_backends",
        ),
    ),
    (
        "tokenizer-files-missing",
        tb(
            "ValueError: Couldn't instantiate the backend tokenizer from one of: \n(1) a `tokenizers` library serialization file, \n(2) a slow tokenizer instance to convert or \n(3) an equivalent slow tokenizer class to instantiate and convert. \nYou need to have sentencepiece or tiktoken installed to convert a slow tokenizer to a fast one.",
            "transformers/tokenization_utils_tokenizers.py __init__",
        ),
    ),
    (
        "tokenizer-pad-missing",
        tb(
            "ValueError: Asking to pad but the tokenizer does not have a padding token. Please select a token to use as `pad_token` `(tokenizer.pad_token = tokenizer.eos_token e.g.)`",
            "transformers/tokenization_utils_base.py __call__",
        ),
    ),
    (
        "tokenizer-decode-overflow",
        tb(
            "OverflowError: out of range integral type conversion attempted",
            "transformers/tokenization_utils_fast.py _decode",
        ),
    ),
    (
        "tokenizer-index-range",
        tb("IndexError: index out of range in self", "torch/nn/functional.py embedding"),
    ),
    ("tokenizer-cuda-assert", ASSERT * 3 + tb(DEVICE, "transformers/models/llama/modeling_llama.py forward")),
    ("tokenizer-cuda-assert", ASSERT),
    (
        "tokenizer-chat-template",
        tb(
            "ValueError: Cannot use chat template functions because tokenizer.chat_template is not set and no template argument was passed! For information about writing templates",
            "transformers/tokenization_utils_base.py get_chat_template",
        ),
    ),
    (
        "tokenizer-chat-roles",
        tb(
            "jinja2.exceptions.TemplateError: Conversation roles must alternate user/assistant/user/assistant/...",
            "transformers/utils/chat_template_utils.py raise_exception",
        ),
    ),
    (
        "peft-targets",
        tb(
            "ValueError: Target modules ['q_proj', 'v_proj'] not found in the base model. Please check the target modules and try again.",
            "peft/tuners/lora.py _find_and_replace",
        ),
    ),
    (
        "peft-no-grad",
        tb(
            "RuntimeError: element 0 of tensors does not require grad and does not have a grad_fn",
            "accelerate/accelerator.py backward",
            "torch/autograd/__init__.py backward",
        ),
    ),
    (
        "peft-adapter-size",
        tb(
            "RuntimeError: Error(s) in loading state_dict for PeftModelForCausalLM:\n\tsize mismatch for base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight: copying a param with shape torch.Size([8, 4096]) from checkpoint, the shape in current model is torch.Size([16, 4096]).",
            "torch/nn/modules/module.py load_state_dict",
        ),
    ),
    (
        "peft-config-missing",
        tb(
            "ValueError: Can't find 'adapter_config.json' at 'runs/x/qwen3-4b/model'",
            "peft/config.py _get_peft_type",
        ),
    ),
    (
        "quantization-missing",
        tb(
            "ImportError: Using `bitsandbytes` 4-bit quantization requires bitsandbytes: `pip install -U bitsandbytes>=0.46.1`",
            "transformers/quantizers/quantizer_bnb_4bit.py validate_environment",
        ),
    ),
    (
        "quantization-missing",
        tb("importlib.metadata.PackageNotFoundError: No package metadata was found for bitsandbytes"),
    ),
    (
        "quantization-cuda-setup",
        tb(
            "RuntimeError: \n        CUDA Setup failed despite GPU being available. Please run the following command to get more information:\n\n        python -m bitsandbytes\n",
            "bitsandbytes/cextension.py <module>",
        ),
    ),
    (
        "quantization-full-finetuning",
        tb(
            "ValueError: You cannot perform fine-tuning on purely quantized models. Please attach trainable adapters on top of the quantized model to correctly perform fine-tuning.",
            "transformers/trainer.py __init__",
        ),
    ),
    (
        "quantization-to",
        tb(
            "ValueError: `.to` is not supported for `4-bit` or `8-bit` bitsandbytes models. Please use the model as it is, since the model has already been set to the correct devices and casted to the correct `dtype`.",
            "transformers/modeling_utils.py to",
        ),
    ),
    (
        "checkpoint-no-weights",
        tb(
            "OSError: Error no file named model.safetensors, or pytorch_model.bin, found in directory checkpoints/qwen.",
            "transformers/modeling_utils.py _get_resolved_checkpoint_files",
        ),
    ),
    (
        "checkpoint-shard-missing",
        tb(
            'FileNotFoundError: No such file or directory: "checkpoints/solar/model-00002-of-00005.safetensors"',
            "transformers/modeling_utils.py load_state_dict",
        ),
    ),
    (
        "checkpoint-truncated",
        tb(
            "safetensors_rust.SafetensorError: Error while deserializing header: MetadataIncompleteBuffer",
            "transformers/modeling_utils.py load_state_dict",
        ),
    ),
    (
        "checkpoint-not-safetensors",
        tb(
            "safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge",
            "transformers/modeling_utils.py load_state_dict",
        ),
    ),
    (
        "checkpoint-pickle",
        tb(
            "_pickle.UnpicklingError: Weights only load failed. This file can still be loaded, to do so you have two options, do those steps only if you trust the source of the checkpoint.",
            "torch/serialization.py load",
        ),
    ),
    (
        "checkpoint-zip",
        tb(
            "RuntimeError: PytorchStreamReader failed reading zip archive: failed finding central directory",
            "torch/serialization.py __init__",
        ),
    ),
    (
        "checkpoint-torn",
        tb(
            "FileNotFoundError: [Errno 2] No such file or directory: 'outputs/out/checkpoint-9/trainer_state.json'",
            "transformers/trainer_callback.py load_from_json",
        ),
    ),
    (
        "checkpoint-vocabulary",
        tb(
            "RuntimeError: Error(s) in loading state_dict for PeftModelForCausalLM:\n        size mismatch for base_model.model.model.embed_tokens.weight: copying a param with shape torch.Size([128259, 4096]) from checkpoint, the shape in current model is torch.Size([128264, 4096]).",
            "torch/nn/modules/module.py load_state_dict",
        ),
    ),
    (
        "checkpoint-shape",
        tb(
            "RuntimeError: Error(s) in loading state_dict for BartForConditionalGeneration:\n\tsize mismatch for model.encoder.layers.0.fc1.weight: copying a param with shape torch.Size([3072, 768]) from checkpoint, the shape in current model is torch.Size([4096, 1024]).",
            "torch/nn/modules/module.py load_state_dict",
        ),
    ),
    (
        "checkpoint-not-found",
        tb(
            "OSError: kobart-bas is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'\nIf this is a private repository, make sure to pass a token",
            "transformers/utils/hub.py cached_file",
        ),
    ),
    (
        "data-column",
        tb("KeyError: 'dialogue'", "pandas/core/frame.py __getitem__", "pandas/core/indexes/base.py get_loc"),
    ),
    (
        "data-encoding",
        tb(
            "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xb4 in position 0: invalid start byte",
            "pandas/io/parsers/c_parser_wrapper.py __init__",
        ),
    ),
    (
        "data-empty",
        tb(
            "pandas.errors.EmptyDataError: No columns to parse from file",
            "pandas/io/parsers/c_parser_wrapper.py __init__",
        ),
    ),
    (
        "data-csv",
        tb(
            "pandas.errors.ParserError: Error tokenizing data. C error: Expected 2 fields in line 3, saw 3",
            "pandas/io/parsers/c_parser_wrapper.py read",
        ),
    ),
    ("data-nan-text", tb("AttributeError: 'float' object has no attribute 'replace'")),
    (
        "data-nan-text",
        tb(
            "TypeError: TextEncodeInput must be Union[TextInputSequence, Tuple[InputSequence, InputSequence]]",
            "transformers/tokenization_utils_fast.py _batch_encode_plus",
        ),
    ),
    (
        "data-ragged",
        tb(
            "ValueError: Unable to create tensor, you should probably activate truncation and/or padding with 'padding=True' 'truncation=True' to have batched tensors with the same length.",
            "transformers/tokenization_utils_base.py convert_to_tensors",
        ),
    ),
    (
        "generation-max-length",
        tb(
            "ValueError: Input length of input_ids is 240, but `max_length` is set to 100. This can lead to unexpected behavior. You should consider increasing `max_length` or, better yet, setting `max_new_tokens`.",
            "transformers/generation/utils.py _validate_generated_length",
        ),
    ),
    (
        "generation-right-padding",
        "A decoder-only architecture is being used, but right-padding was detected! For correct generation results, please set `padding_side='left'` when initializing the tokenizer.\n100%|██████████| 63/63\nDone, predictions saved.\n",
    ),
    (
        "generation-right-padding",
        "[WARNING|logging.py:305] 2023-10-19 09:44:55,318 >> A decoder-only architecture is being used, but right-padding was detected! For correct generation results, please set `padding_side='left'` when initializing the tokenizer.\n",
    ),
    (
        "generation-nan-probabilities",
        tb(
            "RuntimeError: probability tensor contains either `inf`, `nan` or element < 0",
            "transformers/generation/utils.py sample",
        ),
    ),
    (
        "generation-unknown-argument",
        tb(
            "ValueError: The following `model_kwargs` are not used by the model: ['max_new_token'] (note: typos in the generate arguments will also show up in this list)",
            "transformers/generation/utils.py _validate_model_kwargs",
        ),
    ),
    (
        "api-key",
        tb(
            "openai.AuthenticationError: Error code: 401 - {'error': {'message': 'Incorrect API key provided: up_abc***. You can find your API key at https://console.upstage.ai', 'type': 'invalid_request_error', 'code': 'invalid_api_key'}}",
            "openai/_base_client.py request",
        ),
    ),
    (
        "api-key",
        '{"error": {"message": "Incorrect API key provided: sk-***.", "type": "invalid_request_error", "param": null, "code": "invalid_api_key"}}\n',
    ),
    (
        "api-key",
        tb(
            "httpx.HTTPStatusError: Client error '401 Unauthorized' for url 'https://api.upstage.ai/v1/chat/completions'\nFor more information check: https://developer.mozilla.org/en-US/docs/Web/HTTP/Status/401",
            "httpx/_models.py raise_for_status",
        ),
    ),
    ("api-quota", tb(f"openai.RateLimitError: {API}", "openai/_base_client.py request")),
    (
        "api-rate-limit",
        tb(
            "openai.RateLimitError: Error code: 429 - {'error': {'message': 'Rate limit reached for requests', 'type': 'requests', 'code': 'rate_limit_exceeded'}}",
            "openai/_base_client.py request",
        ),
    ),
    (
        "api-rate-limit",
        tb(
            "requests.exceptions.HTTPError: 429 Client Error: Too Many Requests for url: https://api.upstage.ai/v1/chat/completions",
            "requests/models.py raise_for_status",
        ),
    ),
    ("api-timeout", tb("openai.APITimeoutError: Request timed out.", "openai/_base_client.py request")),
    (
        "api-server",
        tb(
            "openai.InternalServerError: Error code: 503 - {'error': {'message': 'Service Unavailable: the server is overloaded'}}",
            "openai/_base_client.py request",
        ),
    ),
    (
        "kernel-died",
        tb(
            "nbclient.exceptions.DeadKernelError: Kernel died",
            "nbclient/client.py async_execute_cell",
            script="papermill",
        ),
    ),
    (
        "kernel-missing",
        tb(
            "jupyter_client.kernelspec.NoSuchKernel: No such kernel named py39_new",
            "jupyter_client/kernelspec.py get_kernel_spec",
            script="papermill",
        ),
    ),
    (
        "kernel-cell-timeout",
        tb(
            "nbclient.exceptions.CellTimeoutError: A cell timed out while it was being executed, after 2 seconds.\nThe message was: Cell execution timed out.",
            "nbclient/client.py _async_handle_timeout",
        ),
    ),
    (
        "kernel-parameter",
        "2026-05-12 16:12:49 - WARNING - papermill - Passed unknown parameter: epoch\nExecuting: 100%|██████████| 31/31\n",
    ),
    ("kernel-parameter", "Input notebook does not contain a cell with tag 'parameters'\n"),
    (
        "kernel-notebook-broken",
        tb(
            "nbformat.reader.NotJSONError: Notebook does not appear to be JSON: '{\"cells\": ['",
            "nbformat/reader.py parse_json",
        ),
    ),
    (
        "cuda-driver-old",
        tb(
            "RuntimeError: The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by downloading and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx",
            "torch/cuda/__init__.py _lazy_init",
        ),
    ),
    (
        "cuda-driver-old",
        "/usr/local/lib/python3.10/dist-packages/torch/cuda/__init__.py:124: UserWarning: CUDA initialization: The NVIDIA driver on your system is too old (found version 11000). Please update your GPU driver\n",
    ),
    (
        "cuda-no-kernel-image",
        tb(
            "RuntimeError: CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors might be asynchronously reported",
            "torch/nn/modules/batchnorm.py forward",
        ),
    ),
    (
        "cuda-not-compiled",
        tb("AssertionError: Torch not compiled with CUDA enabled", "torch/cuda/__init__.py _lazy_init"),
    ),
    ("cuda-unavailable", tb("RuntimeError: No CUDA GPUs are available", "torch/cuda/__init__.py _lazy_init")),
    (
        "cuda-assert",
        "../aten/src/ATen/native/cuda/Loss.cu:250: nll_loss_forward_reduce_cuda_kernel_2d: block: [0,0,0], thread: [5,0,0] Assertion `t >= 0 && t < n_classes` failed.\n"
        + tb(DEVICE, "torch/nn/functional.py cross_entropy"),
    ),
    (
        "cuda-illegal-access",
        tb(
            "torch.AcceleratorError: CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be asynchronously reported",
            "torch/autograd/graph.py _engine_run_backward",
        ),
    ),
    ("cuda-nccl-timeout", NCCL),
    (
        "cuda-nccl-error",
        tb(
            "torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/NCCLUtils.hpp:317, unhandled cuda error (run with NCCL_DEBUG=INFO for details), NCCL version 2.21.5\nncclUnhandledCudaError: Call to CUDA function failed.",
            "torch/distributed/distributed_c10d.py barrier",
        ),
    ),
    (
        "disk-full",
        tb(
            'safetensors_rust.SafetensorError: Error while serializing: IoError(Os { code: 28, kind: StorageFull, message: "No space left on device" })',
            "safetensors/torch.py save_file",
        ),
    ),
    ("disk-full", tb("OSError: [Errno 28] No space left on device")),
    ("disk-full", "tee: write error: No space left on device\n"),
    ("disk-quota", tb("OSError: [Errno 122] Disk quota exceeded: 'runs/x/events.jsonl'")),
    ("disk-read-only", tb("OSError: [Errno 30] Read-only file system: 'runs/x/data.json'")),
    ("disk-open-files", tb("OSError: [Errno 24] Too many open files: 'train.csv'")),
    (
        "network-hub",
        tb(
            "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find them in the cached files.\nCheck your internet connection or see how to run the library in offline mode",
            "transformers/utils/hub.py cached_files",
        ),
    ),
    (
        "network-hub",
        tb(
            "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url: /gogamza/kobart-base-v2/resolve/main/config.json (Caused by NameResolutionError(\"Failed to resolve 'huggingface.co' ([Errno -2] Name or service not known)\"))",
            "requests/adapters.py send",
        ),
    ),
    (
        "network-gated",
        tb(
            "huggingface_hub.utils._errors.GatedRepoError: 401 Client Error. (Request ID: Root=1-66)\n\nCannot access gated repo for url https://huggingface.co/meta-llama/Llama-2-7b/resolve/main/config.json.",
            "huggingface_hub/utils/_errors.py hf_raise_for_status",
        ),
    ),
    (
        "network-certificate",
        tb(
            "requests.exceptions.SSLError: HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url: /distilbert-base-uncased/resolve/main/tokenizer_config.json (Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self signed certificate in certificate chain (_ssl.c:1125)')))",
            "requests/adapters.py send",
        ),
    ),
    (
        "network-proxy",
        tb(
            "requests.exceptions.ProxyError: HTTPSConnectionPool(host='huggingface.co', port=443): Max retries exceeded with url: /api/models (Caused by ProxyError('Unable to connect to proxy', NewConnectionError('Connection refused')))",
            "requests/adapters.py send",
        ),
    ),
    (
        "version-training-arguments",
        tb(
            "TypeError: Seq2SeqTrainingArguments.__init__() got an unexpected keyword argument 'evaluation_strategy'"
        ),
    ),
    (
        "version-training-arguments",
        tb("TypeError: __init__() got an unexpected keyword argument 'evaluation_strategy'"),
    ),
    (
        "version-trainer-tokenizer",
        tb("TypeError: Trainer.__init__() got an unexpected keyword argument 'tokenizer'"),
    ),
    (
        "version-target-tokenizer",
        tb(
            "AttributeError: TokenizersBackend has no attribute as_target_tokenizer",
            "transformers/tokenization_utils_base.py __getattr__",
        ),
    ),
    (
        "version-dtype-argument",
        tb(
            "TypeError: LlamaForCausalLM.__init__() got an unexpected keyword argument 'dtype'",
            "transformers/modeling_utils.py from_pretrained",
        ),
    ),
    (
        "version-import",
        tb(f"ImportError: cannot import name 'AdamW' from 'transformers' ({SITE}/transformers/__init__.py)"),
    ),
    (
        "version-libraries",
        tb(
            f"ImportError: cannot import name 'split_torch_state_dict_into_shards' from 'huggingface_hub' ({SITE}/huggingface_hub/__init__.py)",
            "accelerate/utils/modeling.py <module>",
        ),
    ),
    (
        "version-numpy-abi",
        tb(
            "ValueError: numpy.dtype size changed, may indicate binary incompatibility. Expected 96 from C header, got 88 from PyObject",
            "pandas/__init__.py <module>",
        ),
    ),
    (
        "version-requirement",
        tb(
            "ImportError: tokenizers>=9 is required for a normal functioning of this module, but found tokenizers==0.23.3.",
            "transformers/utils/versions.py _compare_versions",
        ),
    ),
    (
        "version-model-type",
        tb(
            "ValueError: The checkpoint you are trying to load has model type `qwen3` but Transformers does not recognize this architecture. This could be because of an issue with the checkpoint, or because your version of Transformers is out of date.",
            "transformers/models/auto/configuration_auto.py from_pretrained",
        ),
    ),
    (
        "version-flash-attention",
        tb(
            "ImportError: FlashAttention2 has been toggled on, but it cannot be used due to the following error: the package flash_attn seems to be not installed.",
            "transformers/modeling_utils.py _check_and_enable_flash_attn_2",
        ),
    ),
    (
        "dialsum-time-limit",
        "TimeLimit: loading took longer than 300 s: raise --load-timeout (0: no limit), or find out what is slow (disk, network, another process on the device).\n",
    ),
    (
        "dialsum-stage-timeout",
        json.dumps(
            dict(
                schema=1,
                status="failed",
                stage="train",
                error=dict(
                    kind="timeout",
                    type="TimeoutExpired",
                    message="kobart/train took longer than its limit of 60 s and was ended.",
                ),
            )
        ),
    ),
    (
        "dialsum-preflight",
        json.dumps(
            dict(
                schema=1,
                status="failed",
                stage="train",
                error=dict(
                    kind="preflight",
                    type="Finding",
                    message="the preflight found: the shard model-00002 is missing",
                ),
            )
        ),
    ),
    (
        "dialsum-stage-died",
        json.dumps(
            dict(
                schema=1,
                status="failed",
                stage="train",
                error=dict(
                    kind="died", type="StageDied", message="kobart/train was killed by SIGKILL: see the log."
                ),
            )
        ),
    ),
    (
        "dialsum-blocked",
        json.dumps(
            dict(
                schema=1,
                status="blocked",
                stage="predict",
                error=dict(
                    kind="blocked",
                    type="Blocked",
                    message="kobart/predict could not run because kobart/train did not succeed.",
                ),
            )
        ),
    ),
    (
        "dialsum-loss",
        "DialsumError: the loss became nan (gradient norm nan) at step 12: lower --learning-rate or raise --warmup-ratio.\n",
    ),
    (
        "dialsum-loss",
        "DialsumError: the dev loss became nan at step 12: lower --learning-rate or raise --warmup-ratio.\n",
    ),
    (
        "dialsum-memory",
        "DialsumError: out of memory with one row at once: set --gradient-checkpointing, take --method qlora, shorten the rows (--max-source) or free the device.\n",
    ),
    (
        "dialsum-candidates",
        "DialsumError: no model of 'x' has both dev scores and test predictions: see the failures of evaluate and predict.\n",
    ),
    (
        "run-segfault",
        'Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007f1 (most recent call first):\n  File "/v/site-packages/torch/nn/functional.py", line 2, in linear\n',
    ),
    (
        "kernel-died",
        "Executing Cell 6---------------------------------------\nKernel died while waiting for execute reply.\n",
    ),
    ("dialsum-refusal", "DialsumError: unknown model 'kobrt', did you mean 'kobart'?\n"),
    (
        "run-interrupted",
        tb(
            "KeyboardInterrupt",
            "transformers/trainer.py train",
            "torch/autograd/graph.py _engine_run_backward",
        ),
    ),
]


def told(text, tmp_path):
    "As a user would ask: a fact file by its name, anything else as a log"
    if not text.startswith('{"schema"'):
        return kinds(text)
    (tmp_path / "train.json").write_text(text)
    return [d.kind for d in diagnose_file(tmp_path / "train.json")]


@pytest.mark.parametrize(("kind", "text"), EXAMPLES, ids=[f"{i}-{k}" for i, (k, _) in enumerate(EXAMPLES)])
def test_each_message_has_its_own_cause_and_no_other(kind, text, tmp_path):
    assert told(text, tmp_path) == [kind]


def test_every_entry_is_hit_and_there_are_enough():
    assert (
        {k for k, _ in EXAMPLES} == set(KINDS)
        and len(KINDS) == len(set(KINDS)) >= 45
        and len(EXAMPLES) > len(KINDS)
    )


@pytest.mark.parametrize("known", _KNOWN, ids=KINDS)
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
    }
    named = {o for k in _KNOWN for o in re.findall(r"(?<![\w-])--[a-z][\w-]+", k.remedy)}
    assert len(named) > 20 and not {o for o in named - others if o not in shown}


def test_the_catalogue_is_a_table():
    table = catalogue()
    assert (
        list(table.columns) == ["kind", "severity", "cause", "remedy", "reference"]
        and tuple(table.kind) == KINDS
        and table.notna().all().all()
    )


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
            for f in read(
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
    assert kinds(
        tb("torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \ntrain.py FAILED")
    ) == ["unknown"]  # all that there is


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
    assert kinds(rich) == ["precision-scaler-fp16"] and read(io.StringIO(rich))[0][0].frames == (
        "/root/finetune.py:271 in <module>",
    )


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
    (failure,), _ = read(io.StringIO(text))
    assert len(failure.frames) == 2 and kinds(text) == ["precision-scaler-fp16"]


def test_processes_that_write_at_the_same_time():
    first = [f"[rank0]: {line}" for line in tb(FP16, "torch/amp/grad_scaler.py _unscale_grads_").splitlines()]
    second = [f"[rank1]: {line}" for line in tb(OOM, "torch/nn/modules/linear.py forward").splitlines()]
    text = "\n".join(line for pair in zip(first, second) for line in pair) + "\n"
    found, _ = read(io.StringIO(text))
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


def test_numbers_are_told():
    (d,) = diagnose(tb(OOM))
    assert "2.32 GiB" in d.cause and "23.64 GiB" in d.cause and "1.02 GiB" in d.cause
    assert (
        "33.75 MiB" in diagnose(tb(OLD_OOM))[0].cause and "3" in diagnose(dict(EXAMPLES)["data-csv"])[0].cause
    )


def test_facts_tell_the_stage_and_the_error():
    error = dict(kind="exception", type="OutOfMemoryError", message=OOM.partition(": ")[2])
    assert kinds("", dict(stage="train", error=error)) == ["memory-cuda"] and kinds(
        "", dict(stage="evaluate", error=error)
    ) == ["memory-cuda-evaluation"]
    assert (
        kinds(tb(OOM), dict(stage="train", error=error)) == ["memory-cuda"]
        and kinds("", dict(status="success", error=None)) == []
    )
    assert kinds("", dict(stage="train", error=dict(type="Oddity", message="nobody knows"))) == ["unknown"]


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


def test_files_of_every_kind(tmp_path, monkeypatch):
    (tmp_path / "a.log").write_text(tb(FP16))
    (tmp_path / "wide.log").write_bytes(codecs.BOM_UTF16_LE + tb(FP16).encode("utf-16-le"))
    (tmp_path / "bytes.log").write_bytes("안녕".encode("cp949") * 20 + b"\xff\xfe\n" + tb(FP16).encode())
    (tmp_path / "dos.log").write_bytes(tb(FP16).replace("\n", "\r\n").encode())
    (tmp_path / "events.jsonl").write_text('{"event": "start"}\n{"event": "end"}\n' + tb(FP16))
    for name in ("a.log", "wide.log", "bytes.log", "dos.log", "events.jsonl"):
        assert [d.kind for d in diagnose_file(tmp_path / name)] == ["precision-scaler-fp16"], name
    (tmp_path / "empty.log").write_text("")
    assert diagnose_file(tmp_path / "empty.log") == []
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(tb(FP16).encode() + b"\xff")))
    assert [d.kind for d in diagnose_file("-")] == ["precision-scaler-fp16"]


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
        cwd=Path(__file__).parents[1],
        env=os.environ | dict(PYTHONPATH=str(Path(__file__).parents[1])),
        check=True,
    ).stdout
    found, memory = out.strip().rsplit(" ", 1)
    assert found == "['precision-scaler-fp16', 'memory-cuda']" and int(memory) < 60  # 24 MB of log
