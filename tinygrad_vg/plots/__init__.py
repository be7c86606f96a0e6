"""Pictures of gradients, with Matplotlib: axes in (`ax=`), axes out.

Without `ax` a picture gets a figure of its own, 7 × 4.5 inches. Legends and some labels stand beside the data, never
on it; figures made with `layout="constrained"` keep room for them.
"""

from tinygrad_vg.plots.layers import blame, ladder
from tinygrad_vg.plots.neurons import neuron_bars, slope_curve
from tinygrad_vg.plots.training import heat_map, learning_speed

__all__ = ["blame", "heat_map", "ladder", "learning_speed", "neuron_bars", "slope_curve"]
