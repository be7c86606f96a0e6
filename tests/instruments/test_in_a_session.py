"""What a session shows of an object whose name alone is typed: a short table or a sentence, and HTML in a notebook."""

import numpy as np
import pytest

import tinygrad_vg as tg
from tinygrad_vg.instruments import GradientRecorder, History, Ledger, diagnose

X = np.random.default_rng(0).normal(size=(20, 4))


def history(steps, layers, members=()):
    values = np.random.default_rng(0).normal(-3.0, 1.0, size=(steps, layers, *members))
    return History(np.arange(steps), tuple(range(1, layers + 1)), tuple(map(str, range(0, 2 * layers, 2))), values)


@pytest.mark.parametrize("shape", [(10_000, 6), (10_000, 60), (10_000, 6, (4,)), (1, 1), (3, 7)])
def test_a_history_is_ten_lines_at_most(shape):
    lines = repr(history(*shape)).splitlines()
    assert len(lines) <= 10
    assert max(map(len, lines)) <= 120
    assert f"{shape[0]:,} step" in lines[0]


def test_the_numbers_of_a_history_are_its_own():
    whole = history(101, 3)
    values = whole.log10_norm
    rows = [line.split() for line in str(whole).splitlines()[2:]]
    for i, row in enumerate(rows):
        wanted = [values[0, i], np.median(values[:, i]), values[-1, i], values[:, i].min(), values[:, i].max()]
        assert [float(cell.replace("−", "-")) for cell in row[2:]] == pytest.approx(wanted, abs=0.0051)


def test_zero_and_nan_in_a_history():
    values = np.array([[np.nan, -np.inf], [np.nan, -2.0], [np.nan, np.inf]])
    shown = repr(History(np.array([0, 5, 9]), (1, 2), ("a", "b"), values, first_nonfinite=9))
    assert "backwards 0 to 9" in shown
    assert shown.splitlines()[2].split() == ["1", "a", "–", "–", "–", "–", "–"]
    assert shown.splitlines()[3].split() == ["2", "b", "−∞", "−2.00", "∞", "−∞", "∞"]
    assert shown.endswith("NaN or inf came first in backward 9.")


def test_an_empty_history():
    assert repr(history(0, 2)).startswith("History of 0 steps")


@pytest.fixture
def trained():
    net = tg.nn.mlp([4, 3, 3, 2], rng=0)
    with GradientRecorder(net) as recorder, Ledger(net, every=1) as ledger:
        for _ in range(3):
            tg.nn.MSELoss()(net(X), np.zeros((20, 2))).backward()
    return recorder.history, ledger


def test_each_has_a_short_text_and_html(trained):
    whole, ledger = trained
    verdict = diagnose(ledger)
    assert repr(verdict) == f"<Diagnosis: {verdict}>"
    assert repr(ledger).startswith("<Ledger of 3 layers: ")
    assert ledger.table().summary in repr(ledger)
    assert repr(ledger.history) == "<LedgerHistory of 3 backwards, 3 layers>"
    for value in (whole, verdict, ledger):
        html = value._repr_html_()
        assert html.count("<") == html.count(">")
        assert html.startswith(("<p>", "<table>"))
    assert whole._repr_html_().count("<tr>") == 4


def test_a_ledger_that_cannot_be_read_can_be_shown():
    net = tg.nn.mlp([4, 3, 2], rng=0)
    assert "no backward heard yet" in repr(Ledger(net))
    one, other = tg.nn.Linear(4, 4, rng=0), tg.nn.Linear(4, 4, rng=1)

    class Side(tg.nn.Module):
        def __init__(self):
            self.one, self.other = one, other

        def forward(self, x):
            return self.one(x) + self.other(x)

    with Ledger(Side()) as ledger:
        np.sum(ledger.model(X)).backward()
    with pytest.raises(ValueError, match="row"):
        str(ledger)
    assert repr(ledger).startswith("<Ledger of 2 layers: ")


def test_a_tensor_in_a_notebook_is_escaped_and_has_its_shape():
    t = tg.Tensor(np.zeros((2, 3), np.float32), requires_grad=True, name="<b>")
    html = t._repr_html_()
    assert html.startswith("<p>Tensor (2, 3) float32</p><pre>")
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    assert len(tg.Tensor(np.zeros((1000, 1000)))._repr_html_()) < 1000


def test_html_of_a_verdict_is_escaped(trained):
    class Odd(tg.nn.Activation):
        function = staticmethod(np.tanh)
        symbol = "φ"
        largest_slope = 1.0

    Odd.__name__ = "<i>"
    net = tg.nn.mlp([4, *[3] * 8, 1], Odd, rng=0)
    html = diagnose(Ledger.of(net, np.sum(net(X) * 1e-3)))._repr_html_()
    assert "<i>" not in html
