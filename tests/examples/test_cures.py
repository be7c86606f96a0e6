"""The cures of the vanishing gradient: what must hold of each on the ledger, and the scripts from start to end."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import tinygrad_vg as tg

pytestmark = pytest.mark.long  # seconds for each script

EXAMPLES = Path(__file__).parents[2] / "examples"
SHORT = dict(seeds=2, new=500, steps=150, rates=(0.1,), coding_steps=0)
pytest.importorskip("rich")
pytest.importorskip("matplotlib")


@pytest.fixture
def trial(script):
    return script("cures_trial")


@pytest.fixture(scope="module")
def accounts():
    """The accounts of every network at its start: three seeds, 100 images."""
    before = dict(os.environ)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        import chapter
        import cures_trial
    os.environ.clear()
    os.environ.update(before)
    images, _, targets = chapter.digits(100)
    nets = {name: tg.nn.stack([make(seed) for seed in range(3)]) for name, make in cures_trial.PATIENTS.items()}
    return {name: cures_trial.on_ledger(net, images, targets) for name, net in nets.items()}


def way(account):
    """Decades from the last layer to the first, one number for each seed."""
    return account["norms"][0] - account["norms"][-1]


def test_every_network_has_ten_hidden_layers_and_parts_that_add_up(accounts):
    for name, account in accounts.items():
        assert account["norms"].shape == (11, 3), name
        parts = 10 * (account["weights"] + account["slopes"] + account["other"])
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


def test_larger_weights_explode_above_the_critical_point(trial, accounts, monkeypatch):
    factors = np.array([3.0, 10.0, 30.0])
    monkeypatch.setattr(trial, "FACTORS", factors)
    found = trial.sweep("larger and larger weights", SHORT)
    assert (np.diff(found) > 0).all()  # monotonic, so that there is one crossing
    crossing = 10 ** np.interp(0, found, np.log10(factors))
    theory = tg.instruments.critical_weight_std(tg.nn.Sigmoid, 1.0)
    assert theory / 1.5 < crossing < theory * 1.5
    for name in ("weights × 30", "weights × 100"):
        assert accounts[name]["verdict"].state == "exploding"
        assert accounts[name]["verdict"].cause == "weights"
        assert (way(accounts[name]) > 1.5).all()


def test_autoencoders_make_the_weights_larger(script, trial):
    """They pay back a large part of what σ′ takes, and each layer's code still tells images apart."""
    images, _, targets = script("chapter").digits(500)
    net = tg.nn.stack([trial.PATIENTS[trial.CODED](0)])
    before = trial.on_ledger(net, images, targets)
    script("cures_pretraining").pre_trained(net, images, 150, 20)
    after = trial.on_ledger(net, images, targets)
    assert after["weights"][0] > before["weights"][0] + 0.3
    assert way(after)[0] > way(before)[0] + 2


def test_a_trial_trains_what_keeps_the_gradient_and_not_the_patient(trial):
    patient, cured = (trial.trial(name, SHORT) for name in ("the patient", "tanh, orthogonal"))
    assert patient["accuracy"].max() < 25
    assert cured["accuracy"].min() > 50
    shares = []
    assert "accuracy" not in trial.trial("the patient", SHORT, lambda share: shares.append(share) or True)
    assert shares == [0]  # it ends as soon as it is asked to


def test_figure_table_and_sentences(script, accounts, tmp_path, capsys):
    cures, rng = script("cures"), np.random.default_rng(0)
    results = {name: account | {"rate": 0.1, "accuracy": rng.uniform(10, 90, 3)} for name, account in accounts.items()}
    assert cures.trained(results | {cures.SWEEP: np.zeros(9)}).keys() == accounts.keys()
    cures.save(results, tmp_path)
    script("cures_figure").draw(cures.WHY, results, tmp_path)
    cures.table(results)
    cures.explosion(cures.FACTORS, np.linspace(-0.7, 0.5, len(cures.FACTORS)))
    cures.sentences(results)
    said = capsys.readouterr().out
    for name, result in results.items():
        assert re.search(rf"^{re.escape(name)} .*{result['accuracy'].mean():.1f} \[", said, re.M)
        assert said.count(f"\n{name}: ") == 1
    assert "{" not in said
    assert (tmp_path / "cures.png").stat().st_size > 20_000
    assert len((tmp_path / "cures.csv").read_text().splitlines()) == 1 + 3 * len(accounts)


def test_interval_of_a_mean(script):
    interval = script("cures_table").interval
    assert interval(np.full(10, 3.0)).tolist() == [3, 3]
    low, high = interval(np.arange(100.0))
    assert low < 49.5 < high
    assert high - low == pytest.approx(2 * 1.96 * np.arange(100).std() / 10, rel=0.05)


def test_regularization_and_depth(script):
    """A larger λ gives another training from the same start, and a run that is stopped keeps its epochs."""
    decay = script("regularization_and_depth")
    curves = {(1, strength): decay.training((1, strength), 500, 2, 2) for strength in (0, 25)}
    assert all(curve.shape == (2, 2, 2) for curve in curves.values())
    assert (curves[1, 0][-1, 1] != curves[1, 25][-1, 1]).all()
    stopped = decay.training((1, 0), 500, 2, 2, lambda share: True)
    np.testing.assert_array_equal(stopped[0, 1], curves[1, 0][0, 1])
    assert f"{curves[1, 25][-1, 0].mean():.2f} ±" in decay.row((1, 25), curves[1, 25])


def command(name, *options):
    return [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py"), *options]


@pytest.mark.parametrize("name", ["cures", "cures_over_time", "regularization_and_depth"])
def test_the_script_with_quick(name, tmp_path):
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        command(name, "--quick", "--out", str(tmp_path)), capture_output=True, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / f"{name}.png").stat().st_size > 5000


def workers_of(process):
    """The number of processes that a script has begun, besides the one that tracks what they share."""
    return len(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()) - 1


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for the workers in Linux's /proc")
@pytest.mark.parametrize("name", ["cures", "cures_over_time", "regularization_and_depth"])
def test_ctrl_c_shows_what_was_done(name, tmp_path):
    """The script ends with 130 and without a traceback; those that take results of a part show them."""
    options = ["--out", str(tmp_path), *["--quick"] * (name == "cures")]  # its first result comes after a few seconds
    process = subprocess.Popen(command(name, *options), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        while workers_of(process) < os.cpu_count() or (name == "cures" and not (tmp_path / "cures.csv").exists()):
            assert process.poll() is None, process.stderr.read().decode()
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=200)
    finally:
        process.kill()
    assert process.returncode == 130, errors.decode()
    assert b"Traceback" not in errors
    if name == "cures":
        assert (tmp_path / "cures.png").exists()
        assert "Decades a layer at the start" in said.decode()


@pytest.mark.parametrize("name", ["cures", "cures_over_time", "regularization_and_depth"])
def test_wrong_arguments_are_named(name):
    result = subprocess.run(command(name, "--fast"), capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "unrecognized arguments: --fast" in result.stderr
