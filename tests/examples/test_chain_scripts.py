"""The scripts on single chains and neurons: their numbers beside those of the two books."""

import numpy as np
import pytest


def test_single_neuron_chain(script, shown):
    example = script("single_neuron_chain")
    w, b = np.random.default_rng(3).normal(size=(2, 4))
    cost, biases, _ = example.chain(w, b)
    cost.backward()
    moved = example.steps_by_jvp(w, b)
    assert list(moved) == ["Δa₁", "Δz₂", "Δa₂", "Δz₃", "Δa₃", "Δz₄", "Δa₄", "ΔC"]
    assert moved["ΔC"] == pytest.approx(biases[0].grad, rel=1e-12)
    assert moved["Δz₂"] == pytest.approx(w[1] * moved["Δa₁"], rel=1e-12)  # Eqs. 117-119
    numbers = example.typical(20_000)
    assert numbers["|w| < 1"] == pytest.approx(0.6827, abs=0.01)  # of a normal distribution
    assert numbers["|wσ′| < 1/4"] > 0.75
    assert numbers["median"] > 16
    assert numbers["16 or more"] > 0.85
    said = shown("single_neuron_chain")
    assert "Eq. 122: σ′(z₁) · w₂ · σ′(z₂) · w₃ · σ′(z₃) · w₄ · σ′(z₄) · ∂C/∂a₄" in said


@pytest.mark.parametrize("name", ["worked_example", "gradient_graph"])
def test_a_folder_that_cannot_be_made_is_told_at_once(name, script, monkeypatch, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("sys.argv", [name, "--out", str(tmp_path / "file" / "folder")])
    with pytest.raises(SystemExit, match="2"):
        script(name).main()
    assert "cannot be made: Not a directory; write the path of a folder" in capsys.readouterr().err


def test_a_progress_bar_names_the_seeds_of_a_case(script):
    named = script("chapter").named
    assert named((4, range(20))) == ("4", "seeds 0 to 19")
    assert named("layer 1 frozen") == ("layer 1 frozen",)


def test_exploding_gradient(script, shown):
    example = script("exploding_gradient")
    found = example.gradients(*example.exploding(6))
    assert np.array_equal(found[:-1] / found[1:], [25.0] * 5)
    vanishing = example.gradients(*example.typical(12))
    assert vanishing[0] < 1e-6 * vanishing[-1]
    assert example.farther(1.0, n=1000) == (0, 0)
    share, saturated = example.farther(100.0, n=1000)
    assert share == pytest.approx(0.5, abs=0.06)  # a toss of a coin
    assert saturated > 0.99
    assert "each w_j σ′(z_j): 25, 25, 25" in shown("exploding_gradient")


def test_where_gradients_survive(script, shown):
    example = script("where_gradients_survive")
    weights, a = np.linspace(-3.999, 3.999, 201)[:, None], np.linspace(-9, 9, 1001)
    assert example.gain(weights, a).max() < 1  # (1)
    for w, b in ((4.5, 0.3), (-6.9, -2.0), (12.0, 5.0), (-30.0, 1.0)):  # (2)
        assert example.measured_width(w, b) == pytest.approx(example.width(w), abs=2e-5)
    assert example.widest() == pytest.approx(6.8942, abs=5e-5)  # (3)
    assert example.width(example.widest()) == pytest.approx(0.44774, abs=5e-6)
    assert "greatest at |w| = 6.8942, where it is 0.44774" in shown("where_gradients_survive")


def test_identity_neuron(script, shown):
    example = script("identity_neuron")
    assert example.error(0.2) / example.error(0.1) == pytest.approx(2**2, rel=0.01)
    assert example.error(0.05) == pytest.approx(example.leading_term(0.05), rel=1e-3)
    error, w1, b, w2 = example.best_without_bias()
    assert error == pytest.approx(0.0560, abs=2e-4)
    assert np.abs(w2 / (1 + np.exp(-w1 * example.X - b)) - example.X).max() == pytest.approx(error, abs=2e-4)
    said = shown("identity_neuron")
    assert "to the power 1.996 (Taylor: 2)" in said
    assert "has an error of 0.0560" in said


def test_worked_example(script, shown):
    example = script("worked_example")
    new, slopes = example.step()
    assert max(example.off(value, printed) for value, printed in zip(new, example.BOOK, strict=True)) < 1.5
    moved = new - example.OLD
    assert moved[4:].mean() > 10 * moved[:4].mean()
    assert max(slopes) <= 0.25
    assert "12 times as far" in shown("worked_example")


def test_another_activation(script):
    """4σ with weights : 4 is the same function as σ: its gradient is the same, and weights and slopes trade places."""
    example = script("another_activation")
    weights, slopes = example.account(example.KINDS["σ(z)"], seeds=4)
    assert weights == pytest.approx(0, abs=0.03)
    assert slopes == pytest.approx(-0.69, abs=0.02)
    traded = example.account(example.FourSigmoid, 0.25, seeds=4)
    assert sum(traded) == pytest.approx(weights + slopes, abs=2e-3)
    assert traded[0] - weights == pytest.approx(-np.log10(4), abs=2e-3)
    assert sum(example.account(example.FourSigmoid, seeds=4)) < -0.1  # a slope of 1 still vanishes with weights of 1/√n
    assert sum(example.account(example.FourSigmoid, 2.0, seeds=4)) > 0.05  # and explodes with larger ones


def test_depth_as_power(script, shown):
    example, rng = script("depth_as_power"), np.random.default_rng(0)
    bits = example.all_inputs(6)
    for _ in range(10):  # any function at all
        wanted = rng.random(len(bits)) < 0.5
        assert np.array_equal(example.shallow(bits, wanted)[0], wanted)
    odd = bits.sum(axis=1) % 2 == 1
    assert example.shallow(bits, odd)[1] == 2**5 + 1
    parity, gates, layers = example.deep(bits)
    assert np.array_equal(parity, odd)
    assert (gates, layers) == (4 * 5, 3 * 3)
    assert [example.pieces(example.zigzag(layers)) for layers in (1, 2, 5, 7)] == [2, 4, 32, 128]
    assert "12 bits:  2049 (2),  44 (12)" in shown("depth_as_power")
