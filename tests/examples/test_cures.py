"""The cures of the vanishing gradient: what must hold of each on the ledger, and both scripts from start to end."""

import importlib
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

import tinygrad_vg as tg

pytestmark = pytest.mark.long  # seconds for each script

EXAMPLES = Path(__file__).parents[2] / "examples"
pytest.importorskip("rich")
pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def cures():
    sys.path.insert(0, str(EXAMPLES))
    try:
        yield importlib.import_module("cures")
    finally:
        sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def accounts(cures):
    """The accounts of every network at its start: three seeds, 100 images."""
    images, _, targets = cures.data("train")
    nets = {name: tg.nn.stack([make(seed) for seed in range(3)]) for name, make in cures.PATIENTS.items()}
    return {name: cures.on_ledger(net, images[:100], targets[:100]) for name, net in nets.items()}


def way(account):
    """Decades from the last layer to the first, one number for each seed."""
    return account["norms"][0] - account["norms"][-1]


def test_every_network_has_ten_hidden_layers_and_parts_that_add_up(cures, accounts):
    for name, account in accounts.items():
        assert account["norms"].shape == (cures.DEPTH + 1, 3), name
        parts = cures.DEPTH * (account["weights"] + account["slopes"] + account["other"])
        np.testing.assert_allclose(parts, way(account), atol=1e-9, err_msg=name)


VANISHING = ["the patient", "orthogonal, σ", "LayerNorm before σ", "convolutions, σ", "autoencoders first"]
STABLE = ["residual", "BatchNorm before σ", "tanh, Xavier", "tanh, orthogonal", "ReLU, He", "convolutions, ReLU"]


@pytest.mark.parametrize("name", VANISHING)  # the autoencoders are not trained here
def test_what_leaves_the_slopes_of_sigmoid_alone_is_no_cure(accounts, name):
    account = accounts[name]
    assert account["verdict"].state == "vanishing"
    assert account["verdict"].cause == "activation"
    assert (account["slopes"] < np.log10(1 / 4)).all()  # each slope is at most 1/4
    assert (way(account) < 10 * np.log10(1 / 4)).all()


@pytest.mark.parametrize("name", STABLE)
def test_cures_keep_the_gradient(accounts, name):
    assert accounts[name]["verdict"].cause is None
    assert (abs(way(accounts[name])) < 1.5).all()


def test_each_cure_acts_on_its_own_factor(accounts):
    patient = accounts["the patient"]
    # Orthogonal: W has no part at all, in each seed; the last W, 10 × 30, keeps lengths too.
    assert abs(accounts["orthogonal, σ"]["weights"]).max() < 1e-5
    assert abs(patient["weights"]).max() > 1e-3
    # Residual: the gradient is nearly flat from block to block.
    assert abs(np.diff(accounts["residual"]["norms"][1:], axis=0)).max() < 0.15
    # ReLU with He: half of the slopes are 0, which takes log10(√2), and He's weights pay it back.
    relu = accounts["ReLU, He"]
    assert relu["slopes"].mean() == pytest.approx(-np.log10(2) / 2, abs=0.05)
    assert relu["weights"].mean() == pytest.approx(np.log10(2) / 2, abs=0.05)
    # A norm behind σ, or in front of it over the batch, leaves σ′ as it is and pays back.
    for name in ("LayerNorm after σ", "BatchNorm before σ"):
        assert accounts[name]["slopes"].mean() == pytest.approx(patient["slopes"].mean(), abs=0.08)
        assert accounts[name]["other"].mean() > 0.5
    assert abs(accounts["LayerNorm before σ"]["other"]).max() < 0.15


def test_larger_weights_explode_above_the_critical_point(cures, accounts, monkeypatch):
    factors = np.array([3.0, 10.0, 30.0])
    monkeypatch.setattr(cures, "FACTORS", factors)
    found = cures.sweep(Namespace(seeds=2), lambda share: False)
    assert (np.diff(found) > 0).all()  # monotonic, so that there is one crossing
    crossing = 10 ** np.interp(0, found, np.log10(factors))
    theory = tg.instruments.critical_weight_std(tg.nn.Sigmoid, 1.0)
    assert theory / 1.5 < crossing < theory * 1.5
    for name in ("weights × 30", "weights × 100"):
        assert accounts[name]["verdict"].state == "exploding"
        assert accounts[name]["verdict"].cause == "weights"
        assert (way(accounts[name]) > 1.5).all()


def test_autoencoders_make_the_weights_larger(cures):
    """They pay back a large part of what σ′ takes, and each layer's code still tells images apart."""
    images, _, targets = (array[:500] for array in cures.data("train"))
    net = tg.nn.stack([cures.PATIENTS[cures.CODED](0)])
    before = cures.on_ledger(net, images, targets)
    cures.pre_trained(net, images, 150, 20)
    after = cures.on_ledger(net, images, targets)
    assert after["weights"][0] > before["weights"][0] + 0.3
    assert way(after)[0] > way(before)[0] + 2


def test_a_trial_trains_what_keeps_the_gradient_and_not_the_patient(cures):
    args = Namespace(seeds=2, slow_seeds=1, new_images=500, steps=150, rates=(0.1,), coding_steps=0)
    patient, cured = (cures.trial(name, args, lambda share: False) for name in ("the patient", "tanh, orthogonal"))
    assert patient["accuracy"].max() < 25
    assert cured["accuracy"].min() > 50
    shares = []
    assert "accuracy" not in cures.trial("the patient", args, lambda share: shares.append(share) or True)
    assert shares == [0]  # it ends as soon as it is asked to


def test_figure_table_and_sentences(cures, accounts, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cures.OUT.mkdir(parents=True)
    rng = np.random.default_rng(0)
    results = {name: account | {"rate": 0.1, "accuracy": rng.uniform(10, 90, 3)} for name, account in accounts.items()}
    results[cures.SWEEP] = np.linspace(-0.7, 0.5, len(cures.FACTORS))
    cures.save(results)
    cures.draw(results)
    cures.tell(results, Namespace(steps=7, rates=(0.1,)))
    said = capsys.readouterr().out
    for name, result in results.items():
        if name != cures.SWEEP:
            assert re.search(rf"^{re.escape(name)} .*{result['accuracy'].mean():.1f} \[", said, re.M)
            assert said.count(f"\n{name}: ") == 1
    assert "{" not in said
    assert (cures.OUT / "cures.png").stat().st_size > 20_000
    assert len((cures.OUT / "results.csv").read_text().splitlines()) == 1 + 3 * len(accounts)
    assert tg.load(cures.OUT / "norms.npz").keys() == accounts.keys()


def test_interval_of_a_mean(cures):
    assert cures.interval(np.full(10, 3.0)).tolist() == [3, 3]
    low, high = cures.interval(np.arange(100.0))
    assert low < 49.5 < high
    assert high - low == pytest.approx(2 * 1.96 * np.arange(100).std() / 10, rel=0.05)


def test_regularization_and_depth(tmp_path, monkeypatch):
    """A larger λ gives another training from the same start, and a run that is stopped keeps its epochs."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    decay = importlib.import_module("regularization_and_depth")
    args = Namespace(images=500, epochs=2, members=2)
    curves = {(1, strength): decay.training(1, strength, args, lambda share: False) for strength in (0, 25)}
    assert all(curve.shape == (2, 2, 2) for curve in curves.values())
    assert (curves[1, 0][-1, 1] != curves[1, 25][-1, 1]).all()
    stopped = decay.training(1, 0, args, lambda share: True)
    np.testing.assert_array_equal(stopped, curves[1, 0][:1])
    monkeypatch.chdir(tmp_path)
    decay.OUT.mkdir(parents=True)
    decay.save(curves)
    assert len((decay.OUT / "results.csv").read_text().splitlines()) == 1 + 2 * 2 * 2
    assert f"{100 * curves[1, 25][-1, 0].mean():.2f} ±" in decay.table(curves)


@pytest.mark.parametrize("script", ["cures.py", "regularization_and_depth.py"])
def test_wrong_arguments_are_named(script):
    command = [sys.executable, str(EXAMPLES / script), "--fast"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "unrecognized arguments: --fast" in result.stderr
