"""Where the checkout is, and what may lie beside it"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = (
    ROOT.parent / "shared"
)  # research material that may not be redistributed; tests that need it skip without it


def notebooks(folder: Path = ROOT / "nbs") -> list[Path]:
    "In a folder and below it, without the copies that JupyterLab keeps beside what it has opened"
    return sorted(p for p in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
