"""The wheels that a machine without internet lacks, which has Python 3.12, torch and transformers: what `.ci/gpu.py` needs there.

    python .ci/wheels.py [FOLDER]    # .whl: folders part1, part2, … of less than 45 MB, each to be carried alone

By the ranges of pyproject.toml and of the wheels themselves, without what the machine has. A wheel that is larger than a part is cut in pieces; `.ci/gpu.py --wheels FOLDER` joins and installs them. What is there already and fits is left as it is.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from email import message_from_string
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NOTE = "wheels.json"  # in each part: what all of them hold together
PART = 45_000_000  # bytes
PYTHON = "3.12"
PLATFORMS = (
    "manylinux_2_34",
    "manylinux_2_28",
    "manylinux_2_27",
    "manylinux_2_24",
    "manylinux_2_17",
    "manylinux2014",
    "manylinux2010",
    "manylinux1",
)
# what comes with torch and transformers, or is on every machine for such work; the first step of gpu.py tells
# which of it is missing after all
PRESENT = [
    "accelerate",
    "certifi",
    "charset-normalizer",
    "click",
    "colorama",
    "contourpy",
    "cycler",
    "filelock",
    "fonttools",
    "fsspec",
    "hf-xet",
    "huggingface-hub",
    "idna",
    "jinja2",
    "joblib",
    "kiwisolver",
    "lxml",
    "markdown-it-py",
    "markupsafe",
    "matplotlib",
    "mdurl",
    "mpmath",
    "narwhals",
    "networkx",
    "numpy",
    "packaging",
    "pandas",
    "pillow",
    "portalocker",
    "protobuf",
    "psutil",
    "pygments",
    "pyparsing",
    "pytest",
    "python-dateutil",
    "pyyaml",
    "regex",
    "requests",
    "rich",
    "sacrebleu",
    "safetensors",
    "scikit-learn",
    "scipy",
    "setuptools",
    "six",
    "sympy",
    "tabulate",
    "threadpoolctl",
    "tokenizers",
    "torch",
    "tqdm",
    "transformers",
    "tzdata",
    "urllib3",
]
# of other stages, and large
UNUSED = ["kiwipiepy", "koreanize-matplotlib"]


def normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def requirements() -> list[str]:
    "What pyproject.toml asks for"
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return project["dependencies"]


def is_carried(requirement) -> bool:  # of packaging
    "Whether the machine lacks it"
    machine = dict(
        python_version=PYTHON,
        python_full_version=f"{PYTHON}.0",
        platform_machine="x86_64",
        platform_system="Linux",
        sys_platform="linux",
        os_name="posix",
        extra="",
    )
    if requirement.marker and not requirement.marker.evaluate(machine):
        return False
    return normal(requirement.name) not in (*PRESENT, *UNUSED)


def needs(wheel: Path) -> list[str]:
    "What a wheel says that it requires"
    with zipfile.ZipFile(wheel) as archive:
        [name] = [n for n in archive.namelist() if n.endswith(".dist-info/METADATA")]
        metadata = message_from_string(archive.read(name).decode())
    return metadata.get_all("Requires-Dist") or []


def download(requirement, folder: Path) -> Path:  # the wheel
    "The newest wheel in a range, for the other machine; made here where only the source is published"
    before = set(folder.iterdir())
    wanted = f"{requirement.name}{requirement.specifier}"
    options = [
        "--only-binary=:all:",
        "--python-version",
        PYTHON,
        "--implementation",
        "cp",
        "--dest",
        str(folder),
    ]
    for platform in PLATFORMS:
        options += ["--platform", f"{platform}_x86_64"]
    if pip("download", *options, wanted).returncode:
        made = pip("wheel", "--wheel-dir", str(folder), wanted)
        if made.returncode:
            raise SystemExit(f"{wanted}: {made.stderr.strip()}")
    [wheel] = set(folder.iterdir()) - before
    if "-linux_" in wheel.name:
        raise SystemExit(f"{wheel.name} was built for this machine alone")
    return wheel


def pip(command: str, *options: str) -> subprocess.CompletedProcess:
    usual = ["--no-deps", "--quiet", "--disable-pip-version-check"]
    line = [sys.executable, "-m", "pip", command, *usual, *options]
    return subprocess.run(line, capture_output=True, text=True)


def collect(folder: Path) -> list[Path]:
    "Every wheel that is needed, those that others need among them"
    from packaging.requirements import Requirement

    waiting = [Requirement(text) for text in requirements()]
    wheels: dict[str, Path] = {}
    while waiting:
        requirement = waiting.pop(0)
        name = normal(requirement.name)
        if name in wheels or not is_carried(requirement):
            continue
        wheels[name] = download(requirement, folder)
        print(f"{wheels[name].name}: {wheels[name].stat().st_size / 1e6:.1f} MB", flush=True)
        waiting += [Requirement(text) for text in needs(wheels[name])]
    return list(wheels.values())


def pieces_of(wheel: Path, most: int = PART) -> list[Path]:
    "The wheel, or what it was cut into beside it, where it is larger than a part"
    if wheel.stat().st_size < most:
        return [wheel]
    pieces = []
    with wheel.open("rb") as source:
        while content := source.read(most - 1):
            pieces.append(wheel.with_name(f"{wheel.name}.piece{len(pieces) + 1:02}"))
            pieces[-1].write_bytes(content)
    wheel.unlink()
    return pieces


def split(wheels: list[Path], folder: Path, most: int = PART) -> None:
    "Move wheels into part folders: the largest first, each into the first part that has room"
    files = [piece for wheel in wheels for piece in pieces_of(wheel, most)]
    parts: list[int] = []  # bytes of each
    for path in sorted(files, key=lambda path: (-path.stat().st_size, path.name)):
        size = path.stat().st_size
        number = next((i for i, taken in enumerate(parts) if taken + size < most), len(parts))
        if number == len(parts):
            parts.append(0)
        parts[number] += size
        part = folder / f"part{number + 1}"
        part.mkdir(parents=True, exist_ok=True)
        shutil.move(path, part / path.name)


def missing_files(folder: Path) -> list[str]:
    "What a folder of wheels lacks of what was collected: a part that did not travel along, or all of it"
    there = sizes(folder)
    return [name for name, size in note_of(folder).get("files", {NOTE: 0}).items() if there.get(name) != size]


def note_of(folder: Path) -> dict:  # empty where there is none
    "What was collected, as each part says"
    notes = sorted(folder.rglob(NOTE))
    return json.loads(notes[0].read_text()) if notes else {}


def join_pieces(folder: Path, target: Path) -> list[Path]:
    "The wheels in part folders, of one collection; those that were cut are put together in the target folder"
    target.mkdir(parents=True, exist_ok=True)
    names = note_of(folder).get("files", sizes(folder))
    wheels = sorted(path for path in folder.rglob("*.whl") if path.name in names)
    pieces = [path for path in folder.rglob("*.whl.piece*") if path.name in names]
    whole: dict[str, Path] = {}
    for piece in sorted(pieces, key=lambda path: path.name):
        name = piece.name.rpartition(".piece")[0]
        path = whole.setdefault(name, target / name)
        with path.open("ab") as file:
            file.write(piece.read_bytes())
    return [*wheels, *whole.values()]


def key() -> str:
    "What the wheels depend on"
    content = [requirements(), PRESENT, UNUSED, PYTHON, PLATFORMS, PART]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def sizes(folder: Path) -> dict[str, int]:
    files = [path for path in sorted(folder.rglob("*.whl*")) if path.is_file()]
    return {path.name: path.stat().st_size for path in files}


def main(folder: Path) -> int:
    if note_of(folder) == dict(key=key(), files=sizes(folder)):
        print(f"{folder} has them already")
        return 0
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".whl-") as made:
        top = Path(made)
        (top / "fresh").mkdir()
        (top / "parts").mkdir()
        split(collect(top / "fresh"), top / "parts")
        content = dict(key=key(), files=sizes(top / "parts"))
        for part in (top / "parts").iterdir():  # each travels alone
            (part / NOTE).write_text(json.dumps(content, indent=1) + "\n")
        shutil.rmtree(folder, ignore_errors=True)
        (top / "parts").rename(folder)
    for part in sorted(folder.glob("part*")):
        print(f"{part}: {sum(path.stat().st_size for path in part.iterdir()) / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / ".whl"))
