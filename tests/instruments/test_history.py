"""Histories: slices, files, tables."""

import csv
import json
import math
import sys

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg.instruments import History

S, L, R = 4, 3, 2
NUMBERS = ("log10_norm", "log10_rms", "coherence", "saturation", "log10_update")


def made(members, full):
    """A history of numbers that are all different, with NaN and ±inf among them."""
    rest = (R,) if members else ()
    numbers = {name: 100.0 * k + np.arange(S * L * (R if members else 1)).reshape(S, L, *rest) / 7
               for k, name in enumerate(NUMBERS if full else NUMBERS[:1])}  # fmt: skip
    for array in numbers.values():
        array.flat[:3] = math.nan, math.inf, -math.inf
    extras = {}
    if full:
        sizes = (5, 4, 2)
        extras["values"] = tuple(np.random.default_rng(n).normal(size=(S, *rest, n)).astype("f4") for n in sizes)
        extras["first_nonfinite"] = 0
    return History(np.array([0, 2, 4, 5]), (1, 2, 4), ("body.0", "body.2", "head"), **numbers, **extras)


@pytest.fixture(params=[(False, False), (True, False), (False, True), (True, True)], ids=str)
def history(request):
    return made(*request.param)


def assert_equal(a, b):
    assert (a.layers, a.names, a.first_nonfinite) == (b.layers, b.names, b.first_nonfinite)
    for name in ("steps", *NUMBERS):
        mine, other = getattr(a, name), getattr(b, name)
        assert (mine is None) == (other is None)
        assert mine is None or (mine.dtype == other.dtype and np.array_equal(mine, other, equal_nan=True))
    assert bool(a.values) == bool(b.values)
    for mine, other in zip(a.values or (), b.values or (), strict=True):
        assert mine.dtype == other.dtype
        assert np.array_equal(mine, other)


def test_histories_come_back_from_disk(history, tmp_path):
    history.save(tmp_path / "h.npz")
    assert_equal(History.load(tmp_path / "h.npz"), history)


def test_slices_come_back_from_disk(history, tmp_path):
    for part in (history[1:, 1:], history[:0], history[:, :0]):
        part.save(tmp_path / "h.npz")
        assert_equal(History.load(tmp_path / "h.npz"), part)


def test_one_file_holds_several_histories(tmp_path):
    """Also if one prefix begins with another."""
    several = {"start_1_": made(True, True), "start_10_": made(True, False)[1:], "start_1_more_": made(False, True)}
    arrays = {"about": np.array("how they were made")}
    for prefix, history in several.items():
        arrays |= history.arrays(prefix)
    tg.save(arrays, tmp_path / "h.npz")
    for prefix in ("start_10_", "start_1_more_"):
        assert_equal(History.load(tmp_path / "h.npz", prefix), several[prefix])
    for prefix in ("", "start_", "start_2_"):
        with pytest.raises(
            ValueError, match=rf"no history with the prefix '{prefix}'.* the prefixes are \['start_10_'"
        ):
            History.load(tmp_path / "h.npz", prefix)


def test_another_file_is_not_a_history(history, tmp_path):
    tg.save({"a": np.ones(2)}, tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"holds \['a'\], not a history"):
        History.load(tmp_path / "a.npz")
    tg.save(history.arrays() | {"values_3": np.ones(2)}, tmp_path / "a.npz")
    with pytest.raises(ValueError, match="not a history"):
        History.load(tmp_path / "a.npz")


MISFITS = {
    "steps, too few": {"steps": np.array([0, 2])},
    "steps, of strings": {"steps": np.array(["a", "b", "c", "d"])},
    "layers, too many": {"layers": np.array([1, 2, 4, 5])},
    "layers, a number": {"layers": np.array(1), "values_1": None, "values_2": None, "values_4": None},
    "layers, of fractions": {"layers": np.array([1.0, 2.0, 4.0]), "values_1": None, "values_2": None, "values_4": None},
    "names, too few": {"names": np.array(["body.0", "head"])},
    "names, of numbers": {"names": np.array([1, 2, 3])},
    "log10_norm, in one row": {"log10_norm": np.zeros(S)},
    "log10_norm, of strings": {"log10_norm": np.full((S, L), "a")},
    "coherence, of other steps": {"coherence": np.zeros((S - 1, L))},
    "saturation, of members": {"saturation": np.zeros((S, L, R, 1))},
    "first_nonfinite, in a row": {"first_nonfinite": np.zeros(1, int)},
    "values_2, of other steps": {"values_2": np.zeros((S + 1, 4))},
    "values_4, of strings": {"values_4": np.full((S, 2), "a")},
    "values_4, missing": {"values_4": None},
}


@pytest.mark.parametrize("what", MISFITS)
def test_a_history_whose_arrays_do_not_fit_together_is_not_loaded(what, tmp_path):
    made(False, True).save(tmp_path / "whole.npz")
    arrays = {
        name: array for name, array in (tg.load(tmp_path / "whole.npz") | MISFITS[what]).items() if array is not None
    }
    tg.save(arrays, tmp_path / "misfit.npz")
    History.load(tmp_path / "whole.npz")
    words = "values of 2 layers" if what.endswith("missing") else what.partition(",")[0]
    with pytest.raises(ValueError, match=f"misfit.npz is not a history: its arrays do not fit together: .*{words}"):
        History.load(tmp_path / "misfit.npz")


def test_a_layer_that_is_there_twice_is_no_history(tmp_path):
    arrays = made(False, False).arrays() | {"layers": np.array([1, 1, 4])}
    tg.save(arrays, tmp_path / "h.npz")
    with pytest.raises(ValueError, match="a layer is there twice"):
        History.load(tmp_path / "h.npz")


INDEXES = [
    0, -1, np.int64(2), slice(1, 3), slice(None, None, 2), slice(None, None, -1),
    (0, 0), (slice(None), -1), (-1, slice(None, -1)), (slice(2), slice(1, None)),
]  # fmt: skip


@pytest.mark.parametrize("index", INDEXES, ids=str)
def test_a_history_is_indexed_as_its_arrays_are(history, index):
    part = history[index]
    index = index if isinstance(index, tuple) else (index,)
    cuts = zip((*index, slice(None))[:2], (S, L), strict=True)
    lists = [range(n)[i] if isinstance(i, slice) else [i] for i, n in cuts]
    steps, layers = (np.array(chosen) for chosen in lists)
    assert np.array_equal(part.steps, history.steps[steps])
    assert part.layers == tuple(history.layers[i] for i in layers)
    assert part.names == tuple(history.names[i] for i in layers)
    for name in NUMBERS:
        if getattr(history, name) is None:
            assert getattr(part, name) is None
        else:
            assert np.array_equal(getattr(part, name), getattr(history, name)[steps][:, layers], equal_nan=True)
    if history.values is not None:
        for mine, i in zip(part.values, layers, strict=True):
            assert np.array_equal(mine, history.values[i][steps])
    assert part.first_nonfinite == history.first_nonfinite


@pytest.mark.parametrize("member", [1, -1, slice(None, 1)])
def test_members_of_an_ensemble(member):
    history = made(True, True)
    part, cut = history[1:, :, member], slice(1, 2) if isinstance(member, int) else member
    for name in NUMBERS:
        assert np.array_equal(getattr(part, name), getattr(history, name)[1:, :, cut], equal_nan=True)
    for mine, whole in zip(part.values, history.values, strict=True):
        assert np.array_equal(mine, whole[1:, cut])


def test_wrong_indexes_say_what_is_right(history):
    for index in ([0, 1], 1.0, "head", (..., 0), None, (0, 0, 0, 0)):
        with pytest.raises(TypeError, match=r"indexed by integers and slices of \(step, layer"):
            history[index]
    for index, axis in ((S, "step"), (-S - 1, "step"), ((0, L), "layer")):
        with pytest.raises(IndexError, match=f"there is no {axis} at position"):
            history[index]
    one = made(False, False)
    with pytest.raises(TypeError, match=r"\(step, layer\)"):
        one[0, 0, 0]


def test_layers_by_number_and_name(history):
    part = history.select("head", 1)
    assert (part.layers, part.names) == ((1, 4), ("body.0", "head"))
    assert np.array_equal(part.log10_norm, history.log10_norm[:, [0, 2]], equal_nan=True)
    for layer in (3, "body", 0):
        with pytest.raises(ValueError, match=r"no layer .*: 1 \('body.0'\), 2 \('body.2'\), 4 \('head'\)"):
            history.select(layer)


def test_csv_has_a_row_for_each_number_and_loses_no_digit(history, tmp_path):
    history.to_csv(tmp_path / "h.csv")
    with open(tmp_path / "h.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    recorded = [name for name in NUMBERS if getattr(history, name) is not None]
    assert list(rows[0]) == ["step", "layer", "name", "member", *recorded]
    for name in recorded:
        assert np.array_equal([float(row[name]) for row in rows], getattr(history, name).ravel(), equal_nan=True)
    members = R if history.log10_norm.ndim == 3 else 1
    places = [(row["step"], row["layer"], row["name"], row["member"]) for row in rows]
    assert places[0] == ("0", "1", "body.0", "0")
    assert places[-1] == ("5", "4", "head", str(members - 1))
    assert len(set(places)) == S * L * members


def numbers_back(value):
    return [numbers_back(item) for item in value] if isinstance(value, list) else float(value)


def refuse(name):
    raise AssertionError(f"{name} is not JSON")


def test_json_is_valid_and_loses_no_digit(history, tmp_path):
    history.to_json(tmp_path / "h.json")
    read = json.loads((tmp_path / "h.json").read_text(), parse_constant=refuse)
    assert read["steps"] == history.steps.tolist()
    assert (tuple(read["layers"]), tuple(read["names"])) == (history.layers, history.names)
    for name in NUMBERS:
        if getattr(history, name) is None:
            assert name not in read
        else:
            assert np.array_equal(numbers_back(read[name]), getattr(history, name), equal_nan=True)
    assert [*np.ravel(np.array(read["log10_norm"], object))[:3]] == ["NaN", "Infinity", "-Infinity"]
    if history.values is not None:
        for mine, values in zip(read["values"], history.values, strict=True):
            assert np.array_equal(mine, values)


def test_dataframe_is_the_csv(history, tmp_path):
    pandas = pytest.importorskip("pandas")
    history.to_csv(tmp_path / "h.csv")
    pandas.testing.assert_frame_equal(history.to_dataframe(), pandas.read_csv(tmp_path / "h.csv"))


def test_without_pandas_a_dataframe_says_what_to_install(history, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match="pip install pandas"):
        history.to_dataframe()
