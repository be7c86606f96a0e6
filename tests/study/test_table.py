"""The table of results, and the files and frames that are made of it."""

import csv
import sys

import numpy as np
import pytest

from tests.study.small import Here, trial
from tinygrad_vg.study import Study


@pytest.fixture(scope="module")
def study(digits, tmp_path_factory):
    trials = trial(digits, seeds=(3, 4, 5), members_at_once=2), trial(digits, images=100, init="orthogonal", epochs=2)
    study = Study(trials, tmp_path_factory.mktemp("study"))
    assert study.run(Here(), progress=False).done == 2
    return study


def test_a_row_for_each_trial_member_and_epoch(study):
    table = study.results()
    rows = [*zip(table["trial"], table["seed"], table["epoch"], strict=True)]
    assert len(rows) == len(table) == len({*rows}) == 3 * 3 + 2 * 2
    for one in study.trials:
        result = study.result(one)
        for member, seed in enumerate(one.seeds):
            mine = (table["trial"] == one.key) & (table["seed"] == seed)
            assert table["epoch"][mine].tolist() == [*range(1, one.epochs + 1)]
            assert np.array_equal(table["validation_accuracy"][mine], result.accuracy[:, member])
            assert np.array_equal(table["validation_cost"][mine], result.cost[:, member])
            assert {*table["init"][mine]} == {one.init}
            assert {*table["hidden_layers"][mine]} == {1}
    assert table["lr"].dtype == np.float64
    assert table["batch"].dtype.kind == "i"
    names = {*study.trials[0].settings, "trial", "hidden_layers", "seed", "epoch", "validation_accuracy"}
    assert {*table.columns} == names - {"seeds"} | {"validation_cost"}


def test_csv_keeps_every_digit(study, tmp_path):
    table = study.results()
    table.to_csv(tmp_path / "table.csv")
    with open(tmp_path / "table.csv", newline="", encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    assert [float(row["validation_cost"]) for row in rows] == table["validation_cost"].tolist()
    assert [row["init"] for row in rows] == ["" if value is None else value for value in table["init"]]
    assert [row["images"] for row in rows] == ["" if value is None else str(value) for value in table["images"]]
    assert rows[0]["sizes"] == "16-5-10"


def same(frame, table):
    assert [*frame.columns] == [*table.columns]
    for name, column in table.columns.items():
        found = [None if value != value else value for value in frame[name].to_list()]
        assert found == column.tolist(), name


def test_frames(study, tmp_path):
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    table = study.results()
    same(table.to_pandas(), table)
    same(table.to_polars(), table)
    table.to_parquet(tmp_path / "table.parquet")
    same(polars.read_parquet(tmp_path / "table.parquet"), table)
    same(pandas.read_parquet(tmp_path / "table.parquet"), table)


@pytest.mark.parametrize(
    ("method", "module", "name"),
    [("to_pandas", "pandas", "pandas"), ("to_polars", "polars", "Polars"), ("to_parquet", "pyarrow", "PyArrow")],
)
def test_a_missing_package_is_named_with_its_extra(study, tmp_path, monkeypatch, method, module, name):
    for known in [known for known in sys.modules if known.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, known)
    monkeypatch.setitem(sys.modules, module, None)
    arguments = [tmp_path / "table.parquet"] if method == "to_parquet" else []
    with pytest.raises(ModuleNotFoundError, match=rf"{method} needs {name}: pip install .*\[tables\]"):
        getattr(study.results(), method)(*arguments)
