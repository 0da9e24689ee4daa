"""Where the checkout is, and what may lie beside it"""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SHARED = (
    ROOT.parent / "shared"
)  # research material that may not be redistributed; tests that need it skip without it
