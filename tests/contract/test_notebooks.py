"The rules that notebooks keep, checked on the files themselves"

import sys
from pathlib import Path


def test_export_and_clean_change_nothing(checkout, call):
    for command in ("nbdev_export", "nbdev_clean"):
        done = call(Path(sys.executable).parent / command)
        assert done.returncode == 0, done.stderr
    changed = call("git", "status", "--porcelain", "--", "nbs", "dialsum").stdout
    assert not changed, changed + call("git", "diff", "--stat").stdout
