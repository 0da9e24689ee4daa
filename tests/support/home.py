"What the tests of home share"

import os
from pathlib import Path

import pytest

UNWRITABLE = Path("/sys")  # not even root makes a folder there


@pytest.fixture
def homeless(monkeypatch, tmp_path):
    "A process whose home folder exists and cannot be written to"
    if not UNWRITABLE.is_dir() or os.access(UNWRITABLE / "kernel", os.F_OK) is False:
        pytest.skip("needs /sys")
    for name in (
        "DIALSUM_CACHE",
        "IPYTHONDIR",
        "MPLCONFIGDIR",
        "HF_HOME",
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_DATA_DIR",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(UNWRITABLE))
    return tmp_path
