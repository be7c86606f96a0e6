"""The page about PyTorch networks: its blocks run, one after the other, and say what the comments say."""

import re
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
PAGE = Path(__file__).parents[2] / "docs" / "torch.md"


def test_the_blocks_run(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```py\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert len(blocks) == 4
    names: dict[str, Any] = {}
    said = []
    for block in blocks:
        exec(block, names)
        said.append(capsys.readouterr().out)
    assert re.match(r"vanishing, severe: .*the slopes of Sigmoid \(σ′\) take", said[0])
    assert "σ′ takes" in said[1]
    assert (tmp_path / "history.npz").is_file()
    assert len(names["recorder"].history.steps) == 4
    assert re.search(r"^block +log10‖δ‖", said[2], re.M)
    assert names["told"]
    assert {"grad/1", "update/1", "rate", "clip/before", "clip/after", "clip/share"} <= names["log"][-1].keys()
    assert torch.isfinite(torch.tensor(names["log"][-1]["update/1"]))
