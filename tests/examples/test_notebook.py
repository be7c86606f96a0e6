"""The notebook of docs/: its cells run in order without a warning, and show what a notebook can show."""

import ast
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NOTEBOOK = FOLDER / "first_look.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def shown(code, names):
    """Run a cell, and return the value of its last line."""
    tree = ast.parse(code)
    *before, last = tree.body
    assert isinstance(last, ast.Expr), f"this cell shows nothing: {code}"
    exec(compile(ast.Module(before, []), NOTEBOOK.name, "exec"), names)
    return eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), names)


def test_no_output_is_kept_that_could_go_stale():
    for cell in CELLS:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert len({cell["id"] for cell in CELLS}) == len(CELLS)


@pytest.mark.long
def test_the_cells_run_in_order_and_show_short_texts(capfd):
    names = {}
    for code in CODE:
        value = shown(code, names)
        bundle = value._repr_mimebundle_() if hasattr(value, "_repr_mimebundle_") else {}
        picture = bundle.get("image/svg+xml")
        if picture is not None:
            assert "<svg" in picture
        elif code != CODE[0]:
            assert len(repr(value).splitlines()) <= 12
            assert value._repr_html_().count("<") >= 2
    assert capfd.readouterr() == ("", "")


@pytest.mark.long
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # Jupyter's own
def test_a_kernel_runs_it(tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="nbclient is in the extra docs; the test above runs the cells")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output["output_type"] == "execute_result", output
