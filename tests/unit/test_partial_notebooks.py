"What the cells of a partial notebook are called, whatever papermill took them for"

import pytest

from dialsum.pipeline.failed_stage import _mark_cells
from dialsum.runs.error_facts import make_error


def cell(status, begun=True, kind="code"):
    record = dict(status=status, start_time="2026-11-20T10:15:00" if begun else None)
    return dict(cell_type=kind, metadata=dict(papermill=record))


def statuses(cells, error):
    _mark_cells(cells, error)
    return [cell["metadata"]["papermill"]["status"] for cell in cells]


@pytest.mark.parametrize(
    ("kind", "code", "expected"),
    [
        ("died", "kernel_died", "failed"),
        ("memory", "kernel_out_of_memory", "failed"),
        ("interrupted", "", "failed"),
        ("lost", "", "failed"),
        ("died", "stage_left_no_facts", "completed"),  # every cell had come to its end
        ("exception", "", "completed"),  # of papermill itself, between two cells
    ],
)
def test_the_cell_in_which_a_stage_was_ended_has_failed(kind, code, expected):
    cells = [
        cell("completed"),
        cell("completed"),
        cell("completed", kind="markdown"),
        cell("completed", False),
    ]
    error = make_error(kind, "Error", code, dict(stage="kobart/train"))
    assert statuses(cells, error) == ["completed", expected, "completed", "pending"]


def test_a_cell_that_runs_when_papermill_ends_has_failed():
    error = make_error("exception", "OSError", text="no space left")
    assert statuses([cell("completed"), cell("running"), cell("pending", False)], error) == [
        "completed",
        "failed",
        "pending",
    ]
