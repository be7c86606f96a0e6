"""The gradient over time: what vanishes at initialization and what does not, the tasks, and the picture and table."""

import numpy as np
import pytest

pytestmark = pytest.mark.long  # seconds for each script

SHORT = dict(members=1, steps=1)


@pytest.fixture
def modules(script, monkeypatch):
    """The script, its tasks and its report, with other tasks, and smaller networks and batches."""
    names = ("cures_over_time", "over_time_tasks", "over_time_report")
    modules = {name: script(name) for name in names}
    tasks, trained = {"adding 8": 8, "adding 100": 100}, {"adding 8": 2}
    for name in names:
        monkeypatch.setattr(modules[name], "TASKS", tasks)
        monkeypatch.setattr(modules[name], "TRAINED", trained)
    monkeypatch.setattr(modules["cures_over_time"], "BATCH", 5)
    monkeypatch.setattr(modules["over_time_tasks"], "HIDDEN", 16)
    return modules


@pytest.fixture
def example(modules):
    return modules["cures_over_time"]


def at_start(example, task, seeds=4):
    return {name: example.experiment((task, name), SHORT | {"seeds": seeds}) for name in example.NETWORKS}


def test_over_100_steps_an_lstm_vanishes_too_unless_its_forget_gates_are_open(example):
    found = at_start(example, "adding 100", seeds=3)
    decades = {name: np.median(result["start: total"]) for name, result in found.items()}
    assert decades["RNN"] < decades["LSTM"] < -15
    assert decades["RNN"] < decades["GRU"] < -15
    assert -5 < decades["open LSTM"] < 2


def test_the_parts_of_a_time_step_add_up_and_the_cell_state_gives_back_what_gates_and_weights_take(modules, example):
    found, parts_of_a_step = at_start(example, "adding 8", seeds=3), modules["over_time_report"].PARTS
    for name, result in found.items():
        parts = {part: result[f"start: {part}"] for part in parts_of_a_step if f"start: {part}" in result}
        np.testing.assert_allclose(7 * sum(parts.values()), result["start: total"], atol=1e-5)
        assert set(parts) - {"cell state", "update gate"} == {part for part, v in parts.items() if np.mean(v) < 0}, name
    assert np.all(found["open LSTM"]["start: cell state"] > found["LSTM"]["start: cell state"])


def test_the_adding_problem_and_its_baseline(example):
    x, target = example.sequences("adding 8", 20_000, np.random.default_rng(0))
    assert (x.shape, target.shape, x.dtype, target.dtype) == ((8, 20_000, 2), (20_000, 1), np.float32, np.float32)
    np.testing.assert_array_equal(x[:4, :, 1].sum(axis=0), 1)  # one marker in each half
    np.testing.assert_array_equal(x[4:, :, 1].sum(axis=0), 1)
    np.testing.assert_allclose(np.prod(x, axis=-1).sum(axis=0), target[:, 0], rtol=1e-6)
    assert np.mean(np.square(target - 1)) == pytest.approx(1 / 6, rel=0.02)


def test_digits_are_read_row_by_row(script, example, monkeypatch):
    images, labels = np.arange(4 * 784.0, dtype=np.float32).reshape(4, 784), np.array([7, 5, 3, 1])
    monkeypatch.setattr(script("chapter"), "digits", lambda split: (images, labels, None))
    x, target = example.sequences("digits", 9, np.random.default_rng(0))
    assert x.shape == (28, 9, 28)
    for i in range(9):
        np.testing.assert_array_equal(x[:, i].reshape(-1), images[[7, 5, 3, 1].index(target[i])])


def test_a_training_that_is_asked_to_end_says_how_far_it_came(example):
    result = example.experiment(("adding 8", "GRU"), dict(seeds=2, members=2, steps=9), lambda share: share > 0.3)
    assert result["steps"] == 3
    assert result["score"].shape == (2,)
    assert not np.array_equal(result["start: norms"], result["after: norms"])


def test_table_sentences_and_picture(modules, example, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    results = {("adding 8", name): found for name, found in at_start(example, "adding 8").items()}
    modules["over_time_report"].draw(results, tmp_path)
    assert (tmp_path / "cures_over_time.png").stat().st_size > 5000
    modules["over_time_report"].tell(results)
    printed = capsys.readouterr().out
    for (_, name), found in results.items():
        assert f"{name}: from the last state to the first the gradient changes by" in printed
        assert f"{np.median(found['start: total']):+.1f} decades on adding 8" in printed
        error = f"MSE {found['score'][0]:.4f}, 0 of 1 below half of {found['always 1']:.3f}"
        assert f"after 1 steps of training; {error}" in printed
