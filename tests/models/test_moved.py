"A run folder that is moved, and weights that lie elsewhere: what counts is what is in them"

import shutil

import pytest
import torch
from support.moved import NEW, moved, weights
from support.toys import Killed, scores

from dialsum.augment.prepare import prepare_rows
from dialsum.data.dialogues import read
from dialsum.models.cards import card
from dialsum.models.loading import load
from dialsum.models.precision import Precision
from dialsum.models.replicas import replica
from dialsum.pipeline.done import why_undone
from dialsum.pipeline.spec import StageSpec
from dialsum.runs.folders import new_run
from dialsum.runs.parameters import complete
from dialsum.runs.places import sample_path
from dialsum.runs.stage import Stage
from dialsum.training.fine_tuning import train
from dialsum.training.recipe import Recipe
from dialsum.training.saves import save

FAST = Recipe(epochs=3, batch_size=8, learning_rate=1e-3)


def trained(folder, write, checkpoint=None, name="kobart", r=FAST):
    rows = read(sample_path() / "train.csv", summaries=True).head(8)
    said, loaded = [], load(card(name), str(checkpoint or replica(card(name))))
    precision = Precision.for_this_machine(card(name), "replica", r.method)
    happened = train(loaded, rows, rows.head(2), r, folder, precision, write, say=said.append)
    return happened, any("going on from" in line for line in said)


def same(one, other, name="kobart"):
    "Whether the models in two folders are equal, bit for bit"
    a, b = weights(one, name), weights(other, name)
    return all(torch.equal(a[n], b[n]) for n in a)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, trained(folder, scores(9, 1, 2))[0]


@pytest.fixture
def saving_is_killed(monkeypatch):
    def attempt(folder, write):
        def killed(*args, **kwargs):
            raise Killed

        with monkeypatch.context() as m:
            m.setattr("dialsum.training.fine_tuning.save", killed)
            with pytest.raises(Killed):
                trained(folder, write)

    return attempt


def test_a_training_that_was_killed_goes_on_where_it_was_moved_to(undisturbed, tmp_path):
    folder, whole = undisturbed
    with pytest.raises(Killed):
        trained(tmp_path / "run", scores(9, 1, None))
    happened, went_on = trained(moved(tmp_path / "run", tmp_path / NEW), scores(2))
    assert went_on and happened["best"] == whole["best"] and happened["curve"] == whole["curve"]
    assert same(folder, tmp_path / NEW)


def test_a_training_that_was_killed_while_saving_saves_the_best_after_a_move(
    undisturbed, saving_is_killed, tmp_path
):
    folder, whole = undisturbed
    saving_is_killed(tmp_path / "run", scores(9, 1, 2))
    happened, went_on = trained(moved(tmp_path / "run", tmp_path / NEW), scores())
    assert went_on and happened["best"] == whole["best"] and happened["best"]["epoch"] == 1
    assert same(folder, tmp_path / NEW)


def test_a_training_does_not_go_on_without_its_best_epoch(undisturbed, saving_is_killed, tmp_path):
    "Its checkpoint lost a file: the last epoch must not be saved in its place"
    folder, whole = undisturbed
    saving_is_killed(tmp_path / "run", scores(9, 1, 2))
    [best] = (tmp_path / "run" / "checkpoints").glob("*/checkpoint-1")
    (best / "model.safetensors").unlink()
    happened, went_on = trained(tmp_path / "run", scores(9, 1, 2))
    assert not went_on and happened["best"] == whole["best"] and same(folder, tmp_path / "run")


def test_the_same_weights_elsewhere_are_gone_on_with(undisturbed, tmp_path):
    folder, whole = undisturbed
    with pytest.raises(Killed):
        trained(tmp_path / "run", scores(9, None))
    elsewhere = shutil.copytree(replica(card("kobart")), tmp_path / "다른 곳" / "weights")
    happened, went_on = trained(tmp_path / "run", scores(1, 2), elsewhere)
    assert went_on and happened["best"] == whole["best"] and same(folder, tmp_path / "run")


def test_other_weights_in_the_same_place_are_not(tmp_path):
    place = shutil.copytree(replica(card("kobart")), tmp_path / "weights")
    with pytest.raises(Killed):
        trained(tmp_path / "run", scores(9, None), place)
    other = load(card("kobart"), str(place))
    with torch.no_grad():
        other.model.get_input_embeddings().weight[7] += 1
    save(other, place)
    assert not trained(tmp_path / "run", scores(9, 1, 2), place)[1]


def test_an_adapter_is_known_by_what_its_base_holds(tmp_path):
    import json

    from dialsum.models.origins import fingerprint

    c, r = card("qwen3-4b"), Recipe(method="lora", epochs=1, batch_size=8)
    trained(tmp_path, scores(1), name=c.name, r=r)
    adapter, base = tmp_path / "model", shutil.copytree(replica(c), tmp_path / "밑" / "base")
    before = fingerprint(str(adapter))
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = str(base)
    (adapter / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    assert fingerprint(str(adapter)) == before
    (base / "config.json").write_text("{}")
    assert fingerprint(str(adapter)) != before


@pytest.fixture
def sources(tmp_path):
    "Files that a user has, apart from the runs"
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("train.csv", "dev.csv"):
        shutil.copy(sample_path() / name, folder / name)
    return folder


def options(folder, **more):
    return dict(train_csv=str(folder / "train.csv"), dev_csv=str(folder / "dev.csv"), debug=True) | more


def prepared(tmp_path, given):
    "A run whose data stage has ended"
    run = new_run("moved", {}, tmp_path / "runs")
    stage = Stage("data", complete("data", dict(run=str(run)) | given))
    prepare_rows(stage)
    stage.record({}, [run / "data"])
    return run


def why(run, given, stage="data", model=""):
    return str(why_undone(StageSpec(run, stage, model, given)) or "")


def test_a_data_stage_is_done_wherever_the_run_and_its_sources_lie(sources, tmp_path):
    run = prepared(tmp_path, options(sources))
    assert why(run, options(sources)) == ""
    run = moved(run, tmp_path / NEW)
    assert why(run, options(sources)) == ""  # deeper than before: a path relative to it would lead elsewhere
    elsewhere = moved(sources, tmp_path / "다른" / "자리")
    assert why(run, options(elsewhere)) == ""
    assert why(run, options(sources)) == ""  # they are away, and the run has its own copies


def test_a_data_stage_is_not_done_with_other_rows(sources, tmp_path):
    run = prepared(tmp_path, options(sources))
    swapped = options(sources, train_csv=str(sources / "dev.csv"), dev_csv=str(sources / "train.csv"))
    assert why(run, swapped) == "its input '<dev_csv>/dev.csv' has changed"
    assert why(run, {"debug": True}).startswith("train_csv was ")
    assert why(run, options(sources / "nowhere")).startswith("train_csv was ")
    (sources / "dev.csv").write_bytes((sources / "dev.csv").read_bytes() + b"\n")
    assert why(run, options(sources)) == "its input '<dev_csv>/dev.csv' has changed"


def test_what_is_made_of_the_shipped_sample_can_be_moved(tmp_path):
    run = moved(prepared(tmp_path, dict(debug=True)), tmp_path / NEW)
    assert why(run, dict(debug=True)) == ""


def test_a_training_is_done_wherever_the_weights_lie_that_it_began_with(tmp_path):
    weights = shutil.copytree(replica(card("kobart")), tmp_path / "weights")
    run = new_run("moved", {}, tmp_path / "runs")
    asked = dict(run=str(run), model="kobart", scale="replica", checkpoint=str(weights))
    stage = Stage("train", complete("train", asked), "kobart")
    stage.use(weights)
    stage.record({})

    def given(checkpoint):
        return dict(scale="replica", checkpoint=str(checkpoint))

    run = moved(run, tmp_path / NEW)
    copy = shutil.copytree(weights, tmp_path / "다른 곳" / "copy")
    assert why(run, given(weights), "train", "kobart") == why(run, given(copy), "train", "kobart") == ""
    (copy / "generation_config.json").write_text("{}")
    assert why(run, given(copy), "train", "kobart") == "its input '<checkpoint>/weights' has changed"
    assert why(run, given("someone/else"), "train", "kobart").startswith("checkpoint was ")


def test_the_folder_of_a_backend_counts_by_what_is_in_it():
    from dialsum.runs.identity import by_content, stage_identity

    digests = {"<augmentation_backend>/ko-en": "a" * 64, "<augmentation_backend 2>/en-ko": "b" * 64}
    here, there = (
        dict(augmentation_backend=f"/{top}/ko-en, /{top}/en-ko", seed=1) for top in ("here", "there")
    )
    assert by_content(here, digests) == dict(augmentation_backend=["a" * 64, "b" * 64], seed=1)
    assert stage_identity("data", here, digests) == stage_identity("data", there, digests)
    endpoint = dict(augmentation_backend="https://one.example/v1")
    assert by_content(endpoint, {}) == endpoint


def test_a_mean_of_models_is_the_same_wherever_it_is_made(tmp_path):
    from dialsum.ensemble.soup import make_soup
    from dialsum.runs.files import sha256

    models = [
        shutil.copytree(replica(card("kobart")), tmp_path / "here" / f"fold{i}" / "model") for i in (0, 1)
    ]
    one = sha256(make_soup(models, tmp_path / "here" / "soup"))
    there = [shutil.copytree(model, tmp_path / "저기 어디" / model.parent.name / "model") for model in models]
    assert sha256(make_soup(there, tmp_path / "저기 어디" / "soup")) == one


def test_a_long_parameter_is_no_path(tmp_path):
    import json

    from dialsum.runs.identity import named_places
    from dialsum.runs.outputs import check_kept

    long = json.dumps({f"option_{i}": "x" * 20 for i in range(40)})
    check_kept("data", tmp_path, [long])
    assert named_places(dict(augmentation_backend=long, checkpoint=long)) == {}
