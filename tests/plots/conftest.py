"""Axes to draw on."""

import pytest


@pytest.fixture
def ax():
    """Axes that pyplot does not know."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    return FigureCanvasAgg(Figure(figsize=(7, 4.5), layout="constrained")).figure.subplots()
