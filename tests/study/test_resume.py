"""A part that goes on from a checkpoint gives the bits that it gives without an interruption; parts are joined."""

import json
from itertools import islice

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.study.small import Here, assert_same, contents, trial
from tinygrad_vg.study import Study, training, work

CASES = {
    "SGD": {"batch": 4},
    "full batch": {"batch": 1000, "epochs": 30},
    "full batch, compiled": {"batch": 1000, "epochs": 100, "momentum": 0.9},
    "momentum": {
        "batch": 4,
        "momentum": 0.9,
        "lr": 0.1,
        "weight_decay": 5.0,
        "init": "xavier_normal",
        "activation": "Tanh",
    },
    "Adam": {"batch": 4, "optimizer": "Adam", "lr": 0.01, "cost": "CrossEntropyLoss", "activation": "ReLU"},
    "RMSprop": {"optimizer": "RMSprop", "lr": 0.01, "momentum": 0.5, "dtype": "float64"},
}


def run(directory, *trials):
    return Study(trials, directory).run(Here(), progress=False)


@pytest.mark.parametrize("settings", CASES.values(), ids=CASES)
def test_a_stop_at_any_step_changes_no_bit(digits, tmp_path, monkeypatch, settings):
    wanted = trial(digits, **settings)
    assert str(run(tmp_path / "whole", wanted)) == "1 of 1 trials are done"
    epoch = -(-167 // wanted.batch)
    assert (epoch * wanted.epochs >= training.COMPILED_FROM) == (wanted.batch == 4 or wanted.epochs == 100)
    shares = [0.2, 1.2, 0.9, 0.1, 1.4, 10**9] if epoch > 1 else [3, 5, 1, 7, 10**9]
    steps = iter([int(share * epoch) for share in shares])  # of the sittings
    left = next(steps)

    def looked(self, share, accuracy, decades, look=work._Watch.look):
        nonlocal left
        if share:
            left -= 1
            if left < 0:
                self._store.stop_file(self._run).touch()
        look(self, share, accuracy, decades)

    monkeypatch.setattr(work, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(training, "IN_ONE_CALL", 0.0)
    monkeypatch.setattr(work._Watch, "look", looked)
    sittings = 0
    while run(tmp_path / "stopped", wanted).done == 0:
        sittings += 1
        left = next(steps)
    assert sittings >= 3
    assert_same(tmp_path / "whole", tmp_path / "stopped")
    assert not [*(tmp_path / "stopped").rglob("*checkpoint*"), *(tmp_path / "stopped" / "running").iterdir()]


@pytest.mark.parametrize("batch", [1000, 100, 60], ids=["one step", "two steps", "three steps"])
def test_a_training_goes_on_after_any_of_its_first_epochs(digits, batch):
    """Its first steps are those that are compiled, one with the optimizer's state and one without it."""
    for settings in ({"momentum": 0.9}, {"optimizer": "Adam", "lr": 0.01}):
        one = trial(digits, batch=batch, epochs=100, **settings)
        whole = [*islice(training.trained(one, one.seeds, None, lambda *_: None), 5)]
        for begun in whole[:4]:
            (state,) = islice(
                training.trained(one, one.seeds, begun, lambda *_: None), 4 - begun.epochs, 5 - begun.epochs
            )
            assert state.epochs == 5
            for name, weight in state.weights.items():
                assert weight.tobytes() == whole[4].weights[name].tobytes(), (begun.epochs, settings)
            assert state.history.log10_norm.tobytes() == whole[4].history.log10_norm.tobytes()


def test_parts_are_joined_and_equal_the_whole_to_rounding(digits, tmp_path):
    whole, split = (trial(digits, seeds=range(5), members_at_once=n, dtype="float64") for n in (5, 2))
    executor = Here()
    study = Study([whole, split], tmp_path)
    assert study.run(executor, progress=False).done == 2
    assert [(args[1] is split, args[2]) for args in executor.tasks] == [(False, 0), (True, 0), (True, 1), (True, 2)]
    one, two = study.result(whole), study.result(split)
    assert one.accuracy.shape == two.accuracy.shape == (3, 5)
    np.testing.assert_allclose(one.cost, two.cost, rtol=1e-12)
    np.testing.assert_allclose(one.history.log10_norm, two.history.log10_norm, atol=1e-10)
    for name, weight in one.weights.items():
        np.testing.assert_allclose(weight, two.weights[name], atol=1e-12)
    net = tg.nn.stack([tg.nn.mlp(whole.sizes, rng=seed) for seed in whole.seeds])
    net.load_state_dict(one.weights)  # weights are those of an ensemble of all members


def test_what_there_is_before_the_end(digits, tmp_path):
    """Parts may have come to different epochs: there is what all of them have."""
    one = trial(digits, seeds=range(3), members_at_once=2)
    study = Study([one], tmp_path)
    assert study.so_far(one) is None
    study._store.prepare()
    whole = []
    for number, epochs in enumerate((2, 1)):
        place = study._store.place(one, number)
        place.settle()
        states = [*training.trained(one, one.parts[number], None, lambda *_: None)]
        states[epochs - 1].save(place.checkpoint, one, number)
        assert (study.so_far(one) is None) == (number == 0)
        whole.append(states[0])
    found = study.so_far(one)
    np.testing.assert_array_equal(found.accuracy, np.concatenate([state.accuracy for state in whole], axis=1))
    assert found.cost.shape == (1, 3)
    assert found.history.steps.tolist() == whole[0].history.steps.tolist() == [0, 5, 10, 15]
    study.run(Here(), progress=False)
    np.testing.assert_array_equal(study.so_far(one).accuracy, study.result(one).accuracy)


def test_fewer_images_validate(digits):
    for images, fewer, expected in ((30, None, (30, 30)), (30, 20, (30, 20)), (None, 20, (167, 20))):
        one = trial(digits, images=images, validation_images=fewer)
        assert tuple(len(training.data_of(one, split)[0]) for split in ("train", "validation")) == expected


def test_what_is_kept_of_a_trial(digits, tmp_path):
    one = trial(digits, epochs=2, seeds=(7,))
    study = Study([one], tmp_path)
    study.run(Here(), progress=False)
    result = study.result(one)
    assert result.history.steps.tolist() == [0, 5, 10, 15, 17, 22, 27, 32]  # multiples of 5 in epochs of 17 steps
    assert result.history.layers == (1, 2)
    images, labels = tg.datasets.mnist("validation", digits)
    net = tg.nn.stack([tg.nn.mlp(one.sizes, dtype=np.float32)])
    net.load_state_dict(result.weights)
    output = net(images)
    assert result.accuracy[-1] == np.mean(np.argmax(output, axis=-1) == labels)
    cost = tg.nn.BCEWithLogitsLoss("batchmean")(output, np.eye(10, dtype=np.float32)[labels])
    np.testing.assert_allclose(result.cost[-1], cost.item(), rtol=1e-6)
    (arrays,) = contents(tmp_path).values()
    assert json.loads(str(arrays["settings"])) == one.settings
    assert result.versions[0]["numpy"] == np.__version__
    assert json.loads((tmp_path / "trials" / one.key / "settings.json").read_text()) == one.settings


def test_it_is_the_training_that_it_says(digits, tmp_path):
    """The same as a loop written by hand: data order, λ/n on the weights only, and the cost as a mean."""
    one = trial(digits, seeds=(7,), epochs=2, weight_decay=3.0, dtype="float64")
    study = Study([one], tmp_path)
    study.run(Here(), progress=False)
    images, labels = tg.datasets.mnist("train", digits, np.float64)
    net, n = tg.nn.mlp(one.sizes, rng=7), len(images)
    rng = np.random.default_rng(0)
    for _ in range(2):
        order = rng.permutation(n)
        for begin in range(0, n, 10):
            rows = order[begin : begin + 10]
            net.zero_grad()
            tg.nn.BCEWithLogitsLoss("batchmean")(net(images[rows]), np.eye(10)[labels[rows]]).backward()
            for name, p in net.named_parameters():
                p.data = p.data - 0.5 * (p.grad + (3.0 / n * p.data if "weight" in name else 0.0))
    for name, weight in net.state_dict().items():
        np.testing.assert_allclose(study.result(one).weights[name][0], weight, atol=1e-12)


def test_a_gradient_that_explodes_is_a_result(digits, tmp_path):
    study = Study([trial(digits, activation="ReLU", lr=1e30, seeds=(0, 1, 2), members_at_once=2)], tmp_path)
    assert study.run(Here(), progress=False).done == 1
    result = study.result(study.trials[0])
    assert result.history.first_nonfinite is not None
    at = np.searchsorted(result.history.steps, result.history.first_nonfinite)
    assert not np.isfinite(result.history.log10_norm[at:]).all()
    assert np.isfinite(result.history.log10_norm[0]).all()


def test_only_checkpoints_are_read_again(digits, tmp_path, monkeypatch):
    """With a clock that runs fast there is a checkpoint at the end of every epoch but the last."""
    now = iter(range(10**9))
    monkeypatch.setattr(work.time, "monotonic", lambda: 100.0 * next(now))
    epochs, seen = [], training.Training.epoch

    def epoch(self, number, *args):
        epochs.append(number)
        if epochs == [0, 1, 2]:
            raise RuntimeError("the power fails")
        return seen(self, number, *args)

    monkeypatch.setattr(training.Training, "epoch", epoch)
    one = trial(digits)
    outcome = run(tmp_path, one)
    assert outcome.failed[0].error == "RuntimeError: the power fails"
    assert outcome.failed[0].path.read_text().startswith("Traceback")
    assert run(tmp_path, one).done == 1
    assert epochs == [0, 1, 2, 2]
    assert not outcome.failed[0].path.exists()
