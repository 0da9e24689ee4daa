"""What somebody in a hurry learns from the first 25 lines of a report"""

import re

import pytest
from support.experiments import (
    at_chance,
    compared,
    demo,
    flattered,
    metrics,
    paired,
    scored,
    six_models_five_folds,
    two_of_four_broken,
    whole,
)

from dialsum.report.document import SECTIONS, render
from dialsum.report.experiment import read_experiment
from dialsum.report.sections.next_steps import every_step

LINES = 25  # of Markdown: a screen
HARD = [20.0 + 7 * (i % 8) for i in range(40)]  # dialogues differ far more than models
CERTAINTIES = (
    "통계적으로 유의합니다",
    "오차 범위 안",
    "기록은 없습니다",
    "넘지 못합니다",
    "축소 모형의 요약",
)


def rows_of(lines, first_cell):
    "The cells of a table whose head begins so"
    for i, line in enumerate(lines):
        if line.startswith(f"| {first_cell} |"):
            below = lines[i + 2 :]
            end = next((k for k, row in enumerate(below) if not row.startswith("|")), len(below))
            return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in below[:end]]
    return []


def read_in_a_hurry(run):
    "State, submitted or best system, its certainty, and what is to be done, of the first lines alone"
    lines = render(read_experiment(run)).split("\n")[:LINES]
    mark, word = re.match(r"(\S+) \*\*(.+?)\*\* · ", lines[2]).groups()
    sentence = next((line for line in lines if line.startswith("**제출")), "")
    return dict(
        mark=mark,
        word=word,
        counts=re.findall(r"(\d+)/(\d+)", lines[2]),
        sentence=sentence,
        certain=[text for text in CERTAINTIES if text in sentence],
        actions=rows_of(lines, "우선순위"),
        models=rows_of(lines, "모델"),
    )


def test_a_success_is_one(build):
    read = read_in_a_hurry(whole(build)[0])
    assert (read["mark"], read["word"]) == ("✅", "성공")
    assert [name for name, *_ in read["models"]] == ["KoBART", "Qwen3-4B"]


def test_a_replica_is_not_to_be_handed_in(build):
    read = read_in_a_hurry(whole(build)[0])
    assert read["sentence"].startswith("**제출하지 마십시오.**") and "축소 모형" in read["sentence"]


def test_what_is_refused_has_its_score_beside_it(build):
    sentence = read_in_a_hurry(demo(build)[0])["sentence"]
    assert "제출 파일을 쓴 것은 KoBART(17.90, 무작위 대비 +0.00)이지만" in sentence


def test_a_refused_system_that_is_no_model_stands_beside_the_best_model(build):
    run, leave = build(models=["kobart"], scale="full")
    leave("evaluate", "kobart", found=at_chance(16.0) | dict(per_dialogue=HARD, scale="full"))
    leave("tta", "kobart", found=at_chance(16.5) | dict(plain=16.0))
    sentence = read_in_a_hurry(run)["sentence"]
    assert "KoBART TTA의 ROUGE 평균은 16.50 [15.50, 17.50]이고 무작위 기준을 넘지 못합니다(+0.00" in sentence
    assert "앞 두 발화 기준도 넘지 못합니다(-5.50 [-7.00, -4.00])" in sentence
    assert sentence.endswith("가장 좋은 모델 하나는 KoBART(16.00, 무작위 대비 +0.00)입니다.")


def real(build, mean=40.0, optimism=((), (), ()), **scores):
    "One model at full size that was evaluated, applied to test and handed in; optimism: of each of these"
    of_train, of_evaluate, of_submit = (dict(optimism=list(records)) for records in optimism)
    run, leave = build(models=["kobart"], scale="full")
    leave("data")
    leave("train", "kobart", found=metrics("train") | dict(scale="full") | of_train)
    leave("evaluate", "kobart", found=dict(split=scored(mean, **scores), scale="full") | of_evaluate)
    leave("predict", "kobart", found=dict(rows=16, scale="full"))
    leave("submit", found=metrics("submit") | of_submit)
    return run, leave


@pytest.mark.parametrize(
    ("null", "lead2", "expected"),
    [
        (16.0, 22.0, "무작위 기준을 넘고 앞 두 발화 기준도 넘습니다."),
        (16.0, 60.0, "무작위 기준을 넘고 앞 두 발화 기준은 넘지 못합니다."),
        (16.0, None, "무작위 기준을 넘고 앞 두 발화 기준의 점수도 기록에 없습니다."),
    ],
)
def test_what_was_handed_in_stands_with_what_it_clears(build, null, lead2, expected):
    sentence = read_in_a_hurry(real(build, null=null, lead2=lead2)[0])["sentence"]
    assert sentence.startswith("**제출한 시스템은 KoBART**, ROUGE 평균은 40.00 [39.00, 41.00]입니다.")
    assert expected in sentence


@pytest.mark.parametrize("null", [39.5, 50.0])
def test_what_does_not_beat_chance_is_not_to_be_handed_in(build, null):
    read = read_in_a_hurry(real(build, null=null)[0])
    assert read["sentence"].startswith("**제출하지 마십시오.**")
    assert "무작위 기준을 넘지 못합니다" in read["sentence"]
    assert "앞 두 발화 기준은 넘습니다" in read["sentence"]
    assert read["models"][0][6] == "무작위 기준을 넘지 못함"
    assert read["actions"][0][:2] == ["P0", "무작위 기준을 넘는 시스템이 없음"]


@pytest.mark.parametrize(("step", "certain"), [(1.0, "통계적으로 유의합니다"), (0.0, "오차 범위 안")])
def test_the_best_is_named_with_its_certainty(build, step, certain):
    run, leave = build(models=["kobart", "qwen3-4b"])
    paired(leave, "kobart", HARD)
    worse = [x - step - 0.4 * (i % 2) if step else x + (3.0 if i % 2 else -3.5) for i, x in enumerate(HARD)]
    paired(leave, "qwen3-4b", worse)
    read = read_in_a_hurry(run)
    assert read["sentence"].startswith("**제출 파일이 없습니다.** 점수가 가장 높은 시스템은 KoBART")
    assert read["certain"] == [certain] and "Qwen3-4B보다" in read["sentence"]


def test_the_best_system_may_be_no_model(build):
    run, leave = build(models=["kobart"])
    paired(leave, "kobart", HARD)
    gain = dict(system="tta", mean=46.0, low=44.0, high=48.0, difference=1.5, p=0.001, p_holm=0.001)
    gain |= dict(difference_low=0.9, difference_high=2.1)
    leave("tta", "kobart", found=dict(split=scored(46.0), plain=44.5, gain=gain))
    read = read_in_a_hurry(run)
    assert "점수가 가장 높은 시스템은 KoBART TTA" in read["sentence"]
    assert "KoBART보다 1.50점 높고, 차이는 통계적으로 유의합니다" in read["sentence"]
    assert [name for name, *_ in read["models"]] == ["KoBART TTA", "KoBART"]


def test_each_cause_stands_with_its_command(build):
    run, leave = whole(build, command="dialsum run --models kobart qwen3-4b kullm-v2 solar")
    for model in ("kullm-v2", "solar-10.7b"):
        leave("train", model, "failed", seconds=90, message="CUDA out of memory")
    leave("submit", "", "failed", code="disk_full", message="", fields=dict(place="runs"))
    read = read_in_a_hurry(run)
    assert read["mark"] == "⚠️" and read["word"] == "일부 실패"
    assert len(read["actions"]) >= 2 and all(re.fullmatch("P[0-3]", row[0]) for row in read["actions"])
    failures = [row for row in read["actions"] if row[0] in ("P0", "P1")]
    assert failures and all(re.search("`dialsum (resume|run) ", row[3]) for row in failures)


def too_short(build):
    "Two models that cut dialogues, of which one can read more"
    run, leave = build(models=["kobart", "qwen3-4b"], scale="full")
    for model, tokens in (("kobart", 1024), ("qwen3-4b", 512)):
        found = dict(split=scored(40.0), scale="full", shortened=7)
        leave("evaluate", model, found=found, params=dict(max_source=tokens, max_new_tokens=96))
    return run, leave


def one_at_chance(build):
    return real(build, null=39.5)


def apart_by_noise(build):
    run, leave = build(models=["kobart", "qwen3-4b"])
    paired(leave, "kobart", HARD)
    paired(leave, "qwen3-4b", [x + (3.0 if i % 2 else -3.5) for i, x in enumerate(HARD)])
    return run, leave


THEN = "그래도 나아지지 않으면"
MAKERS = [six_models_five_folds, two_of_four_broken, whole, too_short, one_at_chance, apart_by_noise]


@pytest.mark.parametrize("make", MAKERS)
def test_each_row_has_a_command_with_every_option_of_its_first_step(build, make):
    actions = read_in_a_hurry(make(build)[0])["actions"]
    assert actions
    for _, what, _, todo in actions:
        text, command = re.fullmatch(r"(.*) `(dialsum (?:resume|run|preflight) [^`]*)`", todo).groups()
        named = re.findall("`(--[^`]+ [^`]+)`", text.partition(THEN)[0])
        for option in re.findall("--[a-z-]+(?: [^- ]+)?", " ".join(named)):
            assert option in command, what


def test_what_is_cut_has_its_number_and_what_reads_no_more_another_model(build):
    actions = read_in_a_hurry(too_short(build)[0])["actions"]
    todos = [todo for _, what, _, todo in actions if what.startswith("끝까지 읽지 못한 대화")]
    [longer] = [todo for todo in todos if "--max-source 1024" in todo]
    assert "`dialsum run --models qwen3-4b " in longer  # KoBART could not read as much, and stays as it is
    [other] = [todo for todo in todos if todo is not longer]
    assert "`dialsum run --models llama-3.2-korean-3b " in other


def test_chance_is_told_once_and_says_what_to_do(build):
    actions = read_in_a_hurry(one_at_chance(build)[0])["actions"]
    assert [what for _, what, _, _ in actions if "무작위 기준" in what] == [
        "무작위 기준을 넘는 시스템이 없음"
    ]
    assert "참조를 비슷하게만 닮았습니다" in actions[0][2]
    assert "제출하지 않습니다." in actions[0][3] and "`--epochs 5`" in actions[0][3]


def test_a_replica_is_followed_by_a_command_for_the_full_size(build):
    run, leave = build(models=["kobart"], scale="replica", command="dialsum demo")
    leave("evaluate", "kobart", found=dict(split=scored(40.0, null=39.5), scale="replica"))
    [row] = read_in_a_hurry(run)["actions"]
    assert "`dialsum run --models kobart --scale full --experiment-name " in row[3]


def test_what_mends_some_models_leaves_those_alone_that_had_succeeded(build):
    actions = read_in_a_hurry(two_of_four_broken(build)[0])["actions"]
    [todo] = [todo for _, what, _, todo in actions if what == "GPU 메모리 부족"]
    assert "KoBART, Qwen3-4B의 결과는 그대로 두고" in todo
    assert "`dialsum run --models solar-10.7b kullm-v2 --scale full" in todo and "dialsum resume" not in todo


def test_at_most_five_things_are_to_be_done_at_once(build):
    others = [f"model-{i}" for i in range(9)]
    run, leave = build(models=["kobart", *others])
    leave("evaluate", "kobart", found=dict(split=scored(40.0)))
    for model, word in zip(others, "abcdefghi"):
        leave("train", model, "failed", message=f"failure {word} of its own")
    read = read_in_a_hurry(run)
    assert len(read["actions"]) == 5
    assert "가지는 [다음에 할 일](#다음에-할-일)에 있습니다" in render(read_experiment(run))


def test_nothing_measured_is_a_failure(build):
    run, leave = build(models=["kobart"])
    leave("train", "kobart", "failed", message="killed")
    read = read_in_a_hurry(run)
    assert (read["mark"], read["word"]) == ("❌", "실패")
    assert read["sentence"].startswith("**제출 파일이 없습니다.** 평가를 마친 모델이 없어")


REFUSED = dict(code="adapter_rank_differs", fields=dict(model="qwen3-4b", folder="a", rank=8, lora_r=16))


@pytest.mark.parametrize(
    ("failed", "what", "why"),
    [
        (("qwen3-4b",), "Qwen3-4B 학습 실패", "실행 중의 오류(`RuntimeError`): `row 2 has no end`."),
        (("qwen3-4b", "kullm-v2"), "Qwen3-4B·KULLM-v2의 학습 실패", "실행 중의 오류(`RuntimeError`)"),
        (
            ("qwen3-4b", "solar-10.7b", "kullm-v2"),
            "Qwen3-4B·SOLAR-10.7B 외 1개 모델의 학습 실패",
            "실행 중의 오류(`RuntimeError`)",
        ),
    ],
    ids=["one", "two", "three"],
)
def test_a_cause_without_a_name_says_which_stage_failed(build, failed, what, why):
    run, leave = build(models=["kobart", *failed])
    leave("evaluate", "kobart", found=dict(split=scored(40.0)))
    for model in failed:
        leave("train", model, "failed", message="row 2 has no end")
    [row] = [row for row in read_in_a_hurry(run)["actions"] if row[0] == "P1"]
    assert row[1] == what and row[2].startswith(why)
    assert f"**P1** {what}: {why}" in every_step(read_experiment(run))


def test_a_refusal_of_ours_is_the_reason_and_not_the_matter(build):
    run, leave = build(models=["kobart", "qwen3-4b"])
    leave("train", "qwen3-4b", "failed", kind="user", **REFUSED)
    [row] = [row for row in read_in_a_hurry(run)["actions"] if row[0] == "P1"]
    assert row[1] == "Qwen3-4B 학습 실패" and row[2].endswith("`lora_r`은 16입니다.")


@pytest.mark.parametrize("make", [six_models_five_folds, two_of_four_broken, whole])
def test_no_cell_of_what_is_to_be_done_is_empty(build, make):
    for row in read_in_a_hurry(make(build)[0])["actions"]:
        assert all(row), row


EPOCH, DECODING = ("epoch", "epoch3", "epoch1"), ("decoding", "plain", "length_control")


@pytest.mark.parametrize(
    ("epoch", "decoding", "submission", "clause"),
    [
        (0.1, 0.2, 0.12, "검증 데이터에서 고른 점수라 약 0.4점 높게 나왔을 수 있습니다."),
        (None, 0.2, 0.12, "약 0.3점 높게 나왔을 수 있습니다(에폭 선택의 몫은 알 수 없음)."),
        (0.0, 0.01, 0.0, "검증 데이터에서 고른 점수이지만 그만큼 높아진 것은 0.1점이 되지 않습니다."),
        (None, None, None, "얼마나 그런지는 알 수 없습니다(에폭, 디코딩 방식, 제출할 시스템 선택)."),
    ],
    ids=["known", "partly", "nothing", "unknown"],
)
def test_a_score_that_was_chosen_says_by_how_much_it_flatters(build, epoch, decoding, submission, clause):
    last = flattered("submission", "kobart", "qwen3-4b", points=submission)
    records = [flattered(*EPOCH, points=epoch)], [flattered(*DECODING, points=decoding)], [last]
    run = real(build, optimism=records)[0]
    assert clause in read_in_a_hurry(run)["sentence"]
    section = SECTIONS["submission"](read_experiment(run))
    assert section.count("| 에폭 | 3번째 에폭 | 2 |") == 1
    assert section.count("알 수 없음 |") == [epoch, decoding, submission].count(None)


def test_what_was_not_chosen_flatters_nobody(build):
    run = real(build)[0]
    assert "높게 나왔" not in read_in_a_hurry(run)["sentence"]
    assert "높아진" not in SECTIONS["submission"](read_experiment(run))


def test_of_an_ensemble_its_own_choices_count(build):
    run = six_models_five_folds(build)[0]
    assert "검증 데이터에서 고른 점수라 약 0.4점 높게 나왔을 수 있습니다." in read_in_a_hurry(run)["sentence"]
    section = SECTIONS["submission"](read_experiment(run))
    assert "| 앙상블 전략 | 합의(MBR) | 3 | +0.25 [+0.05, +0.45] |" in section
    assert "구성 모델의 에폭 선택이 앙상블의 점수를 얼마나 높였는지는 재지 않았습니다" in section
    assert "모두 더하면 약 0.37점입니다" in section


@pytest.mark.parametrize(
    ("p", "certain"), [(0.001, "통계적으로 유의합니다"), (0.4, "오차 범위 안")], ids=["clear", "noise"]
)
def test_the_comparison_of_the_submission_says_how_certain_it_is(build, p, certain):
    "Though the TTA stage has found otherwise, without knowing of the other candidates"
    run, leave = build(models=["kobart", "qwen3-4b"])
    paired(leave, "kobart", HARD)
    gain = compared("tta", 46.0, 44.5, 0.4 if p < 0.05 else 0.001)
    leave("tta", "kobart", found=dict(split=scored(46.0), plain=44.5, gain=gain))
    systems = [compared("kobart", 44.5), compared("kobart/tta", 46.0, 44.5, p)]
    leave("submit", found=metrics("submit") | dict(chosen="kobart/tta", systems=systems))
    read = read_in_a_hurry(run)
    assert "KoBART TTA" in read["sentence"] and read["certain"] == [certain]


def test_the_best_model_alone_is_compared_with_the_next_candidate(build):
    run, leave = build(models=["kobart"])
    paired(leave, "kobart", HARD)
    leave("tta", "kobart", found=dict(split=scored(44.0), plain=44.5))
    systems = [compared("kobart", 44.5), compared("kobart/tta", 43.5, 44.5, 0.01)]
    leave("submit", found=metrics("submit") | dict(systems=systems))
    sentence = read_in_a_hurry(run)["sentence"]
    assert "KoBART TTA보다 1.00점 높고, 차이는 통계적으로 유의합니다(+1.00 [+0.20, +1.80])" in sentence


def test_a_stage_that_fails_in_many_folds_is_told_once(build):
    models = read_in_a_hurry(two_of_four_broken(build)[0])["models"]
    states = {name: state for name, state, *_ in models}
    assert states["SOLAR-10.7B"] == states["KULLM-v2"] == "실패(학습 3개)"


def test_advice_says_why_with_the_numbers_of_the_first_model(build):
    actions = read_in_a_hurry(two_of_four_broken(build)[0])["actions"]
    reasons = {what.partition("(")[0]: why for _, what, why, _ in actions}
    assert reasons["덜 배운 모델"].startswith("KoBART: 마지막 에폭에도") and "1.4%" in reasons["덜 배운 모델"]
    assert reasons["빠뜨린 내용이 많은 모델"] == "KoBART: 요약 40개 중 12개"
