"""The gradient graphs of the example: those that the documents show, and the figures of the chapter in them."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
NAMES = ["chain", "exploding", "layers", "neurons", "pair", "path", "strip"]
SVG = "{http://www.w3.org/2000/svg}"


def texts(path):
    """The words of a picture in alphabetical order: where they stand differs from one layout program to the next."""
    from xml.etree import ElementTree

    return sorted(element.text or "" for element in ElementTree.parse(path).iter(f"{SVG}text"))


def test_the_documents_show_what_the_example_draws(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gradient_graph.py", "--out", str(tmp_path)])
    runpy.run_path(str(ROOT / "examples" / "gradient_graph.py"), run_name="__main__")
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert drawn == [f"{name}.svg" for name in NAMES]
    for name in drawn:
        assert texts(tmp_path / name) == texts(ROOT / "docs" / name), f"{name}: write it anew with --out docs"
    said = capsys.readouterr().out
    assert all(f"wrote {tmp_path / name}" in said for name in drawn)


@pytest.mark.long
def test_terminals_that_know_no_greek(tmp_path):
    arguments = [sys.executable, "-OO", str(ROOT / "examples" / "gradient_graph.py"), "--format", "dot"]
    environment = os.environ | {"PYTHONIOENCODING": "latin-1"}
    result = subprocess.run(arguments, cwd=tmp_path, capture_output=True, env=environment, timeout=120)
    assert result.returncode == 0, result.stderr
    assert b"vanishing" in result.stdout
    assert b"?C/?b? = " in result.stdout  # ∂C/∂b₁


def test_every_pair_of_the_exploding_chain_is_25():
    pairs = [text for text in texts(ROOT / "docs" / "exploding.svg") if re.match("with w[₀-₉]", text)]
    assert pairs == ["with w₂: 25", "with w₃: 25", "with w₄: 25"]
    strips = texts(ROOT / "docs" / "pair.svg")
    assert strips.count("100 × 0.25") == strips.count("= 25") == 3


def test_each_weight_stands_once_in_the_strip():
    words = " ".join(texts(ROOT / "docs" / "strip.svg"))
    assert [len(re.findall(f"w{j}", words)) for j in "₁₂₃₄"] == [0, 1, 1, 1]
    product, measured = re.search(r"product of the 8 factors: (\S+), measured ∂C/∂b₁: (\S+),", words).groups()
    assert product == measured
    assert abs(float(product)) < 0.25**3
