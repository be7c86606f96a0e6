"""The pages for users of PyTorch and of JAX: their blocks run, and what they say of the numbers is so."""

import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg.instruments import GradientRecorder, diagnose

DOCS = Path(__file__).parent.parent.parent / "docs"


def run(page: str, but_for: str = "no block") -> dict[str, Any]:
    """Run the blocks of a page that need a framework, but for those with the text `but_for`; return their names."""
    names: dict[str, Any] = {"__name__": "page"}
    for i, block in enumerate(re.findall(r"```py\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.S)):
        if but_for not in block:
            exec(compile(block, f"{page}, block {i}", "exec"), names)
    return names


@pytest.mark.torch
def test_the_page_for_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    names = run("from_pytorch.md")
    verdict, answer, decades = capsys.readouterr().out.strip().split("\n")
    assert verdict.startswith("vanishing, severe: ")
    assert "the slopes of Sigmoid (σ′) take" in verdict
    assert answer.startswith("from ")
    assert -100 < float(decades) < -80
    assert sorted(os.listdir()) == ["layers.svg", "net.safetensors", "path.svg"]
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(
        names["target"].eval()(x).data, names["source"].eval()(torch.from_numpy(x)).detach().numpy(), rtol=1e-5
    )


def test_the_page_for_jax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Its History is that of a recorder in the same training here."""
    pytest.importorskip("jax", reason="JAX is in the extra bench")
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    names = run("from_jax.md", but_for="flax")
    history, sizes, rng = names["history"], names["sizes"], np.random.default_rng(0)
    assert capsys.readouterr().out.startswith("vanishing, ")
    ours = tg.nn.mlp(sizes, rng=0)
    for layer, (n, m) in zip(ours[::2], pairwise(sizes), strict=True):
        layer.weight.data = (rng.normal(size=(n, m)) / n**0.5).T
        layer.bias.data = rng.normal(size=m)
    sgd, cost = tg.optim.SGD(ours.parameters(), lr=0.1), tg.nn.BCEWithLogitsLoss("batchmean")
    with GradientRecorder(ours, every=10, statistics=True) as recorder:
        for _ in range(61):
            sgd.zero_grad()
            cost(ours(np.array(names["x"])), np.array(names["t"])).backward()
            sgd.step()
    assert history.steps.tolist() == recorder.history.steps.tolist()
    np.testing.assert_allclose(history.log10_norm, recorder.history.log10_norm, atol=1e-3)  # JAX computes in float32
    assert str(diagnose(history[0, :-1])) == str(diagnose(recorder.history[0, :-1]))
    np.testing.assert_allclose(names["ours"][0].weight.data, ours[0].weight.data, atol=1e-4)
    for name in ("log10_norm", "log10_rms", "coherence"):
        expected = getattr(recorder.history[-1], name)
        np.testing.assert_allclose(getattr(names["last"], name), expected, atol=1e-3, err_msg=name)
    assert sorted(os.listdir()) == ["history.npz", "layers.svg"]


def test_the_lines_for_flax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its δ, summed over the batch, are the gradients of the biases."""
    pytest.importorskip("flax", reason="Flax is in no extra; CI installs it")
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    names = run("from_jax.md")
    history = names["of_flax"]
    assert (history.names, history.steps.tolist()) == (tuple(f"dense{i}" for i in range(1, 6)), [*range(0, 61, 10)])
    for i, delta in enumerate(names["flax_deltas"].values()):
        of_bias = names["gradients"][f"Dense_{i}"]["bias"]
        np.testing.assert_allclose(delta.sum(axis=0), of_bias, rtol=0, atol=1e-4 * np.abs(of_bias).max())
    assert diagnose(history[0, :-1]).state == "vanishing"
