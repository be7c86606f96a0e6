"""The verdict's interval for one network."""

import math

import numpy as np
import pytest

from tinygrad_vg.instruments import History, diagnose


def of_steps(*steps):
    """The history of a backward whose norms change by these decades, from the input side."""
    levels = -np.cumsum([0.0, *steps])[None]
    return History(np.arange(1), tuple(range(1, len(steps) + 2)), ("",) * (len(steps) + 1), levels)


def test_the_interval_of_one_network_is_that_of_its_layers_mean_at_90_percent():
    """1.645 standard errors: what a normal distribution has between 5 and 95 %, as the interval of members."""
    steps = (-0.5, -1.0, -0.75, -0.25)
    error = np.std(steps, ddof=1) / math.sqrt(4)
    low, high = diagnose(of_steps(*steps)).interval
    assert low == pytest.approx(np.mean(steps) - 1.645 * error, rel=1e-12)
    assert high == pytest.approx(np.mean(steps) + 1.645 * error, rel=1e-12)


def test_one_step_has_no_interval():
    assert all(map(math.isnan, diagnose(of_steps(-0.5)).interval))
