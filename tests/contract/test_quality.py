"Defects that are planted are found, what is clean stays clean, and mending loses nothing"

from collections import Counter

from support.quality import plant, score

from dialsum.data.dialogues import read
from dialsum.data.quality import check, repaired


def test_300_planted_defects_among_500_clean_rows(shared):
    train, dev = (
        read(shared / "data" / "kodialogsum" / f"{p}.csv", summaries=True) for p in ("train", "dev")
    )
    found, missed, wrong = score(*plant(train, dev.sample(50, random_state=1), 450, 12, seed=1))
    print(f"found {found:.1%}, untouched rows with an error {wrong:.1%}, missed {missed}")
    assert found >= 0.95, missed
    assert max(Counter(name for name, _ in missed).values(), default=0) <= 6, (
        "a sort of defect is hardly found at all"
    )
    assert wrong <= 0.02


def test_the_real_data(shared):
    parts = {
        p: read(shared / "data" / "kodialogsum" / f"{p}.csv", summaries=p != "test")
        for p in ("train", "dev", "test")
    }
    quality = check(parts)
    assert set(quality.counts.index) <= {
        "swapped",
        "unrelated",
        "near_duplicate",
        "near_leak",
        "turns",
        "length",
        "number",
        "name",
        "copied",
    }, quality.counts
    assert len(quality.bad()) < 0.02 * len(quality.rows)
    mended = {p: repaired(f) for p, f in parts.items()}
    assert all(mended[p]["summaries"].equals(f["summaries"]) for p, f in parts.items())
    changed = sum((mended[p]["dialogue"] != f["dialogue"]).sum() for p, f in parts.items())
    assert changed == sum(quality.counts.loc["turns"])  # nothing but the turns that stand in one line
