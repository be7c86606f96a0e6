"""What the pictures share."""

import numpy as np
import pytest


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_quantiles_are_those_of_numpy_and_infinities_have_their_place(share):
    from tinygrad_vg.plots.axes import quantiles

    values = np.random.default_rng(0).standard_normal((6, 37))
    assert np.allclose(quantiles(values, share), np.quantile(values, share, axis=1), rtol=1e-13)
    values[:, ::5] = np.nan
    assert np.allclose(quantiles(values, share), np.nanquantile(values, share, axis=1), rtol=1e-13)
    values[:3], values[3, 0] = np.array([[np.nan], [np.inf], [-np.inf]]), np.inf
    assert np.array_equal(quantiles(values[:3], share), [np.nan, np.inf, -np.inf], equal_nan=True)
    assert np.isfinite(quantiles(values[3], share))
    assert quantiles(np.array([-np.inf, -np.inf, 1.0, np.inf]), 0.5) in (-np.inf, 1.0)
