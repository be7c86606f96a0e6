"""The notebooks of docs/: their cells run in order without a warning, and show what a notebook can show."""

import ast
import json
from pathlib import Path

import pytest

from tinygrad_vg.instruments import Diagnosis

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
FIRST, PATIENTS = FOLDER / "first_look.ipynb", FOLDER / "pytorch_patients.ipynb"
NOTEBOOKS = [FIRST, PATIENTS]


def cells_of(notebook):
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


def code_of(notebook):
    return ["".join(cell["source"]) for cell in cells_of(notebook) if cell["cell_type"] == "code"]


def shown(code, names):
    """Run a cell, and return the value of its last line."""
    tree = ast.parse(code)
    *before, last = tree.body
    assert isinstance(last, ast.Expr), f"this cell shows nothing: {code}"
    exec(compile(ast.Module(before, []), "notebook", "exec"), names)
    return eval(compile(ast.Expression(last.value), "notebook", "eval"), names)


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_output_is_kept_that_could_go_stale(notebook):
    cells = cells_of(notebook)
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert len({cell["id"] for cell in cells}) == len(cells)


@pytest.mark.long
def test_the_cells_run_in_order_and_show_short_texts(capfd):
    names = {}
    for code in code_of(FIRST):
        value = shown(code, names)
        bundle = value._repr_mimebundle_() if hasattr(value, "_repr_mimebundle_") else {}
        picture = bundle.get("image/svg+xml")
        if picture is not None:
            assert "<svg" in picture
        elif code != code_of(FIRST)[0]:
            assert len(repr(value).splitlines()) <= 12
            assert value._repr_html_().count("<") >= 2
    assert capfd.readouterr() == ("", "")


@pytest.mark.long
def test_each_patient_has_its_verdict_and_a_cure_that_works():
    pytest.importorskip("torch")
    names = {}
    values = [shown(code, names) for code in code_of(PATIENTS)]
    verdicts = [value for value in values if isinstance(value, Diagnosis)]
    assert [(v.state, v.cause) for v in verdicts[:4]] == [
        ("vanishing", "activation"), ("stable", None), ("vanishing", "weights"), ("stable", None)
    ]  # fmt: skip
    post_at_start, post, pre = verdicts[4:]
    assert abs(post_at_start.total) < 1
    assert (post.state, post.unit) == ("shrinking", "block")
    assert abs(pre.total) < 1
    sick, *rest = (value for value in values if isinstance(value, dict | float))
    assert all(share < 0.2 for share in sick.values())
    cured_mlp, sick_cnn, cured_cnn, sick_post, cured_pre = rest
    assert max(sick_cnn, sick_post) < 0.2
    assert min(cured_mlp, cured_cnn, cured_pre) > 0.35


@pytest.mark.long
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # Jupyter's own
def test_a_kernel_runs_it(path, tmp_path):
    if path == PATIENTS:
        pytest.importorskip("torch")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is in the extra docs; the test above runs the cells")
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output["output_type"] in ("execute_result", "display_data"), output
