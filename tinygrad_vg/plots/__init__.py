"""Pictures of gradients with Matplotlib. Each function takes axes (`ax=`) and returns them.

Without `ax` a function makes a new figure of 7 × 4.5 inches. Legends and some labels are beside the axes, not on the
data; a figure made with `layout="constrained"` has room for them.
"""

from tinygrad_vg.plots.layers import blame, ladder
from tinygrad_vg.plots.neurons import neuron_bars, slope_curve
from tinygrad_vg.plots.training import heat_map, learning_speed, over_time

__all__ = ["blame", "heat_map", "ladder", "learning_speed", "neuron_bars", "over_time", "slope_curve"]
