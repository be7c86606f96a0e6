"""Tables as text, by Rich and as HTML; and `nn.summary`, which makes one."""

import io
import re

import numpy as np
import pytest

from tinygrad_vg import nn
from tinygrad_vg.tables import TextTable, shortened

TABLE = TextTable("A <title> & more", ["name", "size"], [["a[b]", "1,000"], ["<b>", "–"]], left=(0,), note="a & b")


def test_columns_are_aligned():
    title, *lines, note = str(TABLE).splitlines()
    assert (title, note) == ("A <title> & more", "a & b")
    assert len({len(line) for line in lines}) == 1
    assert lines[1].startswith("a[b] ")
    assert lines[2].endswith("–")


def test_html_is_escaped():
    html = TABLE._repr_html_()
    assert "<title>" not in html
    assert "<b>" not in html
    assert html.count("<tr>") == html.count("</tr>") == 3
    assert "A &lt;title&gt; &amp; more" in html


def test_rich_shows_the_same_cells():
    console = pytest.importorskip("rich.console").Console(width=60, file=io.StringIO())
    console.print(TABLE)
    text = console.file.getvalue()
    for cell in ("name", "a[b]", "1,000", "<b>", "A <title> & more", "a & b"):
        assert cell in text


@pytest.mark.parametrize("n", range(1, 12))
def test_a_long_table_keeps_its_ends(n):
    rows = [[str(i)] for i in range(n)]
    short = shortened(rows, 6)
    assert len(short) == min(n, 6)
    assert (short[0], short[-1]) == (rows[0], rows[-1])
    assert short == rows if n <= 6 else [row for row in short if row in rows] == [r for r in rows if r in short]


class Own(nn.Module):
    """Calls one layer twice, and another never."""

    def __init__(self):
        self.layer = nn.Linear(3, 3, rng=0)
        self.unused = nn.Linear(3, 2, rng=1)
        self.dropout = nn.Dropout(0.5, rng=0)
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x):
        return self.norm(self.dropout(self.layer(self.layer(x))))


def rows_of(table):
    return {row[0]: row[1:] for row in table.rows}


def test_a_summary_changes_nothing():
    net = Own()
    net.norm.training = False
    before, state = net.state_dict(), net.dropout.rng.bit_generator.state
    rows = rows_of(nn.summary(net, np.ones((5, 3))))
    assert rows["layer"] == ["Linear(3, 3)", "(5, 3) ×2", "12"]
    assert rows["unused"][1:] == ["", "8"]
    after = net.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert net.dropout.rng.bit_generator.state == state
    assert [m.training for _, m in net.named_modules()] == [True, True, True, True, False]
    assert all(not m._forward_hooks for _, m in net.named_modules())


def test_a_summary_that_fails_changes_nothing_either():
    net = Own()
    with pytest.raises(ValueError, match="Linear"):
        nn.summary(net, np.ones((5, 4)))
    assert all(m.training and not m._forward_hooks for _, m in net.named_modules())


@pytest.mark.parametrize(("net", "x"), [
    (nn.mlp([4, 3, 2], rng=0), np.ones((5, 4))),
    (nn.Sequential(nn.Conv2d(1, 2, 3, rng=0), nn.Flatten(), nn.Linear(8, 2, rng=1)), np.ones((5, 1, 4, 4))),
    (nn.stack([nn.mlp([4, 3, 2], rng=seed) for seed in range(3)]), np.ones((5, 4))),
    (nn.Sequential(nn.Residual(nn.Linear(4, 4, rng=0)), nn.LayerNorm(4)), np.ones((5, 4))),
], ids=["mlp", "convolution", "ensemble", "nested"])  # fmt: skip
def test_the_counts_add_up_and_the_shapes_are_those_of_the_calls(net, x):
    table = nn.summary(net, x)
    total = sum(p.size for p in net.parameters())
    assert f" {total:,} parameters" in table.title
    assert sum(int(row[-1].replace(",", "") or 0) for row in table.rows) == total
    assert table.rows[-1][2] == str(net(x).shape)
    assert f"called with {x.shape}" in table.title
    assert net._repr_html_().count("<tr>") == len(table.rows) + 1


def test_a_shared_layer_is_counted_once_and_a_frozen_one_named():
    layer = nn.Linear(2, 2, rng=0)
    for p in layer.parameters():
        p.requires_grad = False
    net = nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(2, 1, rng=1))
    assert "9 parameters in float64, 6 of them frozen" in nn.summary(net, np.ones((1, 2))).title


def test_states_of_a_recurrent_layer():
    table = nn.summary(nn.LSTM(3, 4, rng=0), np.ones((6, 5, 3)))
    assert rows_of(table)[""][1] == "(6, 5, 4), (1, 5, 4), (1, 5, 4)"


def test_a_notebook_shows_a_deep_network_in_few_lines():
    html = nn.mlp([3] * 200, rng=0)._repr_html_()
    assert html.count("<tr>") <= 22
    assert re.search("2,388 parameters", html)
