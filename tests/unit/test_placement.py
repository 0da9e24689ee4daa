"Which stages share a machine: no GPU is promised twice, and whoever is alone may try"

import os
from concurrent.futures import Future

from hypothesis import given
from hypothesis import strategies as st

from dialsum.models import memory as training_memory
from dialsum.models import writing_memory
from dialsum.models.kept_simulations import kept, shipped, table_key
from dialsum.pipeline.devices import gpus
from dialsum.pipeline.executor import LocalExecutor, Task
from dialsum.pipeline.placement import Room, Share, gpu_bytes
from dialsum.pipeline.plan import plan_stages
from dialsum.pipeline.spec import StageSpec
from dialsum.pipeline.stage_needs import needs_by_stage
from dialsum.runs.shares import GPU_SHARE, own_devices, within_share

GIB = 2**30
BY_BUS = dict(CUDA_DEVICE_ORDER="PCI_BUS_ID")
SIZES = st.integers(0, 30)  # GiB; 0: nobody knows
NEEDS = st.tuples(st.integers(0, 3), SIZES, st.integers(0, 40), st.booleans())


@given(st.lists(st.integers(8, 80), max_size=4), st.integers(0, 3), st.lists(NEEDS, max_size=30))
def test_no_memory_is_promised_twice(cards, workers, needs):
    gpus = {str(i): size * GIB for i, size in enumerate(cards)}
    room = Room(workers, gpus, 64 * GIB)
    for count, gpu_memory, memory, ends in needs:
        share = room.place(gpus=count, gpu_memory=gpu_memory * GIB, memory=memory * GIB)
        if share is None:
            assert room.shares  # who is alone never waits
        else:
            room.shares.append(share)
        if ends and room.shares:
            room.shares.pop(0)
        assert not workers or len(room.shares) <= workers
        if workers:
            continue
        for name, size in gpus.items():
            users = [s for s in room.shares if name in (s.devices or ())]
            promised = [s.gpu_memory or size for s in users]
            assert len(users) <= 1 or sum(promised) <= size
        assert len(room.shares) <= 1 or sum(s.memory for s in room.shares) <= room.memory


def test_a_card_that_is_used_is_not_taken_whole():
    room = Room(0, {"0": 24 * GIB, "1": 80 * GIB}, shares=[Share(("1",), 30 * GIB)])
    assert room.place(gpus=2, gpu_memory=40 * GIB) is None  # the first is too small, the second is shared
    assert room.place(gpus=2, gpu_memory=20 * GIB).gpu_memory == 20 * GIB


def test_there_is_room_before_a_stage_is_said_to_have_ended(monkeypatch):
    monkeypatch.setattr("dialsum.pipeline.placement.gpu_bytes", lambda: {"0": 24 * GIB})
    monkeypatch.setattr("dialsum.pipeline.executor.run_attempt", lambda *given: None)
    here, taken, tell = LocalExecutor(workers=0, cold=True), [], Future.set_result
    monkeypatch.setattr(
        Future,
        "set_result",
        lambda future, result: (taken.append(len(here.room.shares)), tell(future, result)),
    )
    here.submit(Task(StageSpec("run", "train")), gpus=1, gpu_memory=20 * GIB).result()
    here.stop()
    assert taken == [0]


def test_gpus_that_are_hidden_are_no_place(monkeypatch):
    for names, own in (("-1", []), ("0, 1", ["0", "1"]), ("2,-1,3", ["2"])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)
        assert own_devices() == gpus() == own


def test_data_that_a_model_rewrites_get_a_gpu(tmp_path):
    specs = [StageSpec(tmp_path, "data", "", dict(augmentation_backend=str(tmp_path)))]
    specs.append(StageSpec(tmp_path, "evaluate", "kobart", dict(scale="replica")))
    assert needs_by_stage(specs, gpu=True)["data"].resources["gpus"] == 1
    assert needs_by_stage(specs, gpu=False)["data"].resources["gpus"] == 0


def test_a_stage_sees_its_gpus_alone_and_plans_within_its_share(monkeypatch):
    given_to = {}
    monkeypatch.setattr("dialsum.pipeline.placement.gpu_bytes", lambda: {"0": 24 * GIB, "1": 24 * GIB})
    monkeypatch.setattr(
        "dialsum.pipeline.executor.run_attempt",
        lambda spec, threads, timeout, share, *more: given_to.setdefault(spec.stage, share.environment),
    )
    here = LocalExecutor(workers=0, cold=True)
    futures = [
        here.submit(Task(StageSpec("run", stage)), gpus=count, gpu_memory=size)
        for stage, count, size in (("train", 1, 20 * GIB), ("report", 0, 0))
    ]
    for future in futures:
        future.result()
    here.stop()
    assert given_to["train"] == {**BY_BUS, "CUDA_VISIBLE_DEVICES": "0", GPU_SHARE: str(20 * GIB)}
    assert given_to["report"] == {**BY_BUS, "CUDA_VISIBLE_DEVICES": ""}
    assert not here.room.shares
    monkeypatch.setenv(GPU_SHARE, given_to["train"][GPU_SHARE])
    assert within_share(24 * GIB) == 20 * GIB and within_share(3 * GIB) == 3 * GIB


def test_the_sizes_of_gpus_are_those_that_the_driver_tells(monkeypatch, tmp_path):
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\necho "0, GPU-1a2b3c, 24576"\necho "1, GPU-4d5e6f, [N/A]"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin{os.pathsep}/usr/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,GPU-1a,1")
    assert gpu_bytes() == {"0": 24 * GIB, "GPU-1a": 24 * GIB, "1": 0}
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert gpu_bytes() == {"0": 0, "GPU-1a": 0, "1": 0}
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu_bytes() == {}


def test_no_more_stages_than_cores_share_a_card():
    room = Room(0, {"0": 80 * GIB}, cores=2)
    for _ in range(2):
        room.shares.append(room.place(gpu_memory=2 * GIB))
    assert room.place(gpu_memory=2 * GIB) is None
    assert Room(0, {"0": 80 * GIB}, shares=room.shares).place(gpu_memory=2 * GIB)  # where nobody counts them


def test_each_shape_of_a_plan_is_simulated_once_and_said_before(monkeypatch, tmp_path):
    monkeypatch.setenv("DIALSUM_CACHE", str(tmp_path))
    order = []

    def anew(what, simulate):
        def answer():
            order.append(what)
            return shipped()[table_key(what)]["moments"]

        return kept([tmp_path.name, *what], answer)

    for module in (training_memory, writing_memory):
        monkeypatch.setattr(module, "kept", anew)
        module._moments.cache_clear()
    specs = plan_stages(tmp_path / "run", ["kobart"], dict(scale="full", k_folds=3))
    try:
        for _ in range(2):
            needs_by_stage(specs, gpu=True, say=order.append)
    finally:
        for module in (training_memory, writing_memory):
            module._moments.cache_clear()
    line, *simulated = order
    assert "simulating" in line and not any(isinstance(what, str) for what in simulated)
    assert len(simulated) == len({table_key(what) for what in simulated}) > 1
    assert len([s for s in specs if s.stage == "train"]) == 4
