"`dialsum diagnose` of several things at once, as somebody types it"

import json
import subprocess

from support.diagnosis import FP16, tb
from support.resume import CALL


def test_logs_and_standard_input_are_told_by_cause(env, tmp_path):
    (tmp_path / "a.log").write_text("epoch 1\n" + tb(FP16))
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "b.out").write_text(tb("KeyError: 'sumary'"))
    done = subprocess.run(
        [*CALL, "diagnose", "a.log", "more", "-", "--json", "--runs", str(tmp_path)],
        input=tb(FP16),
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    precision, key = json.loads(done.stdout)
    assert precision["kind"] == "precision-scaler-fp16" and key["kind"] == "unknown"
    assert precision["places"] == [dict(source="a.log", line=5), dict(source="-", line=4)]
    assert key["places"] == [dict(source="more/b.out", line=4)]
