"A key never travels unencrypted to another machine"

from support.keys import KEY


def test_an_experiment_says_so_before_it_starts(typed, tmp_path):
    solar = [
        "--use-solar-api",
        "--solar-base-url",
        "http://llm.example.com/v1",
        "--solar-key-variable",
        "MY_KEY",
        "--solar-optional",
    ]
    variants = [
        "--augmentation-methods",
        "paraphrase",
        "--augmentation-backend",
        "http://llm.example.com/v1",
        "--augmentation-model",
        "m",
        "--augmentation-key-variable",
        "MY_KEY",
    ]
    for words in (solar, variants):
        done = typed("run", "--scale", "replica", "--runs", tmp_path / "runs", *words, MY_KEY=KEY)
        assert (
            done.returncode == 2
            and "unencrypted" in done.stderr
            and KEY not in done.stderr
            and not (tmp_path / "runs").exists()
        )
