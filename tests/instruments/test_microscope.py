"""The microscope: what its page holds, and, in a browser, that the page shows the numbers of the history."""

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest

import tinygrad_vg as tg
from tests.browser import ask, needs_chromium
from tinygrad_vg.instruments import GradientRecorder, History, Ledger, microscope
from tinygrad_vg.instruments.microscope import page


def trained(members=2, steps=12, every=3):
    """Histories of a recorder and a ledger."""
    nets = [tg.nn.mlp([3, 6, 5, 2], rng=seed) for seed in range(members)]
    net = tg.nn.stack(nets) if members > 1 else nets[0]
    optimizer, rng = tg.optim.SGD(net.parameters(), lr=0.5), np.random.default_rng(0)
    with GradientRecorder(net, every, values=True) as recorder, Ledger(net, every=every) as ledger:
        for _ in range(steps):
            optimizer.zero_grad()
            np.mean((net(rng.normal(size=(4, 3))) - 1) ** 2).backward()
            optimizer.step()
    return recorder.history, ledger.history


def large(steps=1000, layers=6, neurons=30):
    rng = np.random.default_rng(0)
    values = tuple(rng.normal(size=(steps, neurons)) * 10.0 ** (layer - layers) for layer in range(layers))
    norms = np.stack([np.log10(np.linalg.norm(block, axis=1)) for block in values], axis=1)
    return History(np.arange(steps), tuple(range(1, layers + 1)), tuple("abcdef"), norms, values=values)


def data_of(text):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S).group(1))


def floats(text):
    return np.frombuffer(base64.b64decode(text), "<f4").astype(float)


def test_the_page_holds_the_values_of_the_history():
    history, ledger = trained()
    data = data_of(page(history, ledger=ledger))
    assert (data["steps"], data["layers"], data["sizes"]) == ([0, 3, 6, 9], [1, 2, 3], [6, 5, 2])
    norms = floats(data["norms"]).reshape(4, 3, 2)
    np.testing.assert_allclose(norms, history.log10_norm, rtol=1e-6)
    for layer, block in enumerate(history.values):
        units = floats(data["units"][layer]).reshape(block.shape)
        np.testing.assert_allclose(units * 10 ** norms[:, layer, :, None], block, rtol=1e-5)
    for name in ("weights", "activation"):
        packed = floats(data["ledger"][name]).reshape(4, 2, 2)
        np.testing.assert_allclose(packed, getattr(ledger, name), rtol=1e-6)


def test_numbers_that_float32_does_not_hold_and_what_is_no_number():
    values = np.array([[3e-200, 4e-200], [0.0, 0.0], [np.nan, 1.0], [-np.inf, 1.0]])
    norms = np.array([[np.log10(5e-200)], [-np.inf], [np.nan], [np.inf]])
    data = data_of(page(History(np.arange(4), (1,), ("0",), norms, values=(values,))))
    np.testing.assert_allclose(floats(data["units"][0]), [0.6, 0.8, 0, 0, np.nan, 0, -np.inf, 0])
    np.testing.assert_allclose(floats(data["norms"]), norms.ravel(), rtol=1e-6)


def test_the_page_is_one_file_without_a_network_and_no_name_leaves_the_script():
    history = replace(trained(1)[0], names=("</script><script>alert(1)</script>", "<!--", "2"))
    text = page(history)
    assert not re.search(r"""(src|href)=["'](?!data:)|https?:|@import|url\(""", text)
    assert text.count("<script") == text.count("</script>") == 2
    assert data_of(text)["names"] == [*history.names]


def test_a_thousand_steps_of_six_layers_are_small(tmp_path):
    microscope(large(), tmp_path / "page.html", accuracy=([0, 999], [0.1, 0.9]))
    assert (tmp_path / "page.html").stat().st_size < 1.5e6


def test_what_does_not_fit_is_refused():
    history, ledger = trained()
    with pytest.raises(ValueError, match=r"GradientRecorder\(net, values=True\)"):
        page(replace(history, values=None))
    with pytest.raises(ValueError, match="empty"):
        page(history[:0])
    with pytest.raises(ValueError, match=r"accuracy is \(steps, shares\).*\(3,\) and \(2, 2\)"):
        page(history, accuracy=([1, 2, 3], np.ones((2, 2))))
    with pytest.raises(ValueError, match="has no step 9, and 0 more"):
        page(history, ledger=ledger[:-1])
    with pytest.raises(ValueError, match="a ledger of the same network"):
        page(history[:, 1:], ledger=ledger)


READ = """
const text = (id) => document.getElementById(id).textContent;
const read = () => ({
  step: text("step"), slider: document.getElementById("slider").value,
  rows: [1, 2, 3].map((l) => ["norm", "change", "largest", "neuron", "weights", "activation"].map(
    (name) => text(name + "-" + l))),
});
"""


def number(text):
    """A number as the page writes it: −1.5, 2.61·10⁻⁴."""
    digits, _, power = text.replace("−", "-").partition("·10")
    return float(digits) * 10.0 ** int(power.translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")) or 0)


def assert_shows(read, history, ledger, row, member):
    """The page shows this row of the history."""
    assert read["slider"] == str(row)
    assert read["step"] == f"step {history.steps[row]} ({row + 1} of {len(history.steps)})"
    norms = history.log10_norm[row, :, member]
    for layer, (norm, change, largest, neuron, weights, activation) in enumerate(read["rows"]):
        assert number(norm) == pytest.approx(norms[layer], abs=6e-4)
        sizes = np.abs(history.values[layer][row, member])
        assert int(neuron) == np.argmax(sizes) + 1
        assert number(largest) == pytest.approx(sizes.max(), rel=6e-3)
        if layer + 1 < len(norms):
            assert number(change) == pytest.approx(norms[layer] - norms[layer + 1], abs=6e-3)
            assert number(weights) == pytest.approx(ledger.weights[row, layer, member], abs=6e-3)
            assert number(activation) == pytest.approx(ledger.activation[row, layer, member], abs=6e-3)


@needs_chromium
@pytest.mark.long
def test_the_slider_the_keys_and_the_fragment_show_their_step(tmp_path):
    history, ledger = trained()
    text = page(history, accuracy=([4, 12], [0.5, 0.75]), ledger=ledger)
    question = """
    const found = { first: read() };
    const slider = document.getElementById("slider");
    slider.value = 3;
    slider.dispatchEvent(new Event("input"));
    found.slid = read();
    const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    press("Home");
    press("ArrowRight");
    found.key = read();
    press("End");
    found.end = read();
    const member = document.getElementById("member");
    member.value = 0;
    member.dispatchEvent(new Event("change"));
    found.member = read();
    document.querySelectorAll("#rows button")[1].click();
    found.layer = text("h-course");
    found.split = text("h-split");
    location.hash = "step=4&scale=linear";
    await new Promise((done) => setTimeout(done, 50));
    found.near = read();
    found.why = text("why");
    document.getElementById("play").click();
    found.playing = document.getElementById("play").textContent;
    for (let frame = 0; frame < 600 && document.getElementById("play").textContent === "Pause"; frame++) {
      await new Promise(requestAnimationFrame);
    }
    found.played = read();
    found.ended = document.getElementById("play").textContent;
    return found;"""
    asked = ask(tmp_path, text, READ + question, fragment="step=6&member=1&layer=3")
    assert asked["errors"] == []
    found = asked["answer"]
    for name, row, member in [("first", 2, 1), ("slid", 3, 1), ("key", 1, 1), ("end", 3, 1), ("member", 3, 0),
                              ("near", 1, 0), ("played", 3, 0)]:  # fmt: skip
        assert_shows(found[name], history, ledger, row, member)
    assert found["layer"].startswith("Layer 2 ")
    assert found["split"].endswith("from layer 3 to layer 2")
    assert found["why"].startswith("Linear")
    assert (found["playing"], found["ended"]) == ("Pause", "Play")


@needs_chromium
@pytest.mark.long
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_the_page_fits_its_window_and_its_pictures_are_painted(tmp_path, width, dark):
    history = trained(1)[0]
    question = """
    const painted = [...document.querySelectorAll("canvas")].filter((canvas) => canvas.clientWidth).map((canvas) => {
      const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      return [canvas.id, new Set(new Uint32Array(pixels.buffer)).size];
    });
    return { painted, back: getComputedStyle(document.body).backgroundColor,
             named: [...document.querySelectorAll("canvas, input, button, select")].every(
               (each) => each.ariaLabel || each.labels?.length || each.textContent) };"""
    asked = ask(tmp_path, page(history), question, width=width, dark=dark)
    assert asked["errors"] == []
    assert asked["width"] == width >= asked["needed"]
    painted = dict(asked["answer"]["painted"])
    assert painted.keys() == {"network", "ladder", "curves", "course"}
    assert min(painted.values()) > 5
    assert (asked["answer"]["back"] == "rgb(255, 255, 255)") != dark
    assert asked["answer"]["named"]


@needs_chromium
@pytest.mark.long
def test_nothing_to_measure_is_shown_as_such(tmp_path):
    values = np.array([[np.nan, 1.0], [0.0, 0.0], [np.inf, 1.0]])
    norms = np.array([[np.nan], [-np.inf], [np.inf]])
    text = page(History(np.array([5, 6, 8]), (1,), ("0",), norms, values=(values,)))
    question = """return [0, 1, 2].map((row) => { microscope.show(row); return [
      document.getElementById("norm-1").textContent, document.getElementById("largest-1").textContent] })"""
    asked = ask(tmp_path, text, question)
    assert asked["errors"] == []
    assert asked["answer"] == [["NaN", "NaN"], ["−∞", "0"], ["∞", "∞"]]


@needs_chromium
@pytest.mark.long
def test_a_frame_takes_less_than_a_sixtieth_of_a_second(tmp_path):
    """Of 6 layers of 30 neurons and 1,000 steps; with the pixels read back, so that they are painted."""
    question = """
    const times = [], canvases = ["network", "ladder"].map((id) => document.getElementById(id).getContext("2d"));
    for (let row = 0; row < 300; row++) {
      const begun = performance.now();
      microscope.show(row);
      for (const g of canvases) g.getImageData(0, 0, 1, 1);
      times.push(performance.now() - begun);
    }
    return times;"""
    asked = ask(tmp_path, page(large(), accuracy=([0, 999], [0.1, 0.9])), question)
    assert asked["errors"] == []
    assert len(asked["answer"]) == 300
    assert np.median(asked["answer"]) <= 16
