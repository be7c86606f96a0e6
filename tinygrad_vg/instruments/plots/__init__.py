"""Pictures of gradients, with Matplotlib: axes in (`ax=`), axes out.

Without `ax` a picture gets a figure of its own, 7 × 4.5 inches. Legends and some labels stand beside the data, never
on it; figures made with `layout="constrained"` keep room for them.
"""

from tinygrad_vg.instruments.plots.layers import blame as blame
from tinygrad_vg.instruments.plots.layers import ladder as ladder
from tinygrad_vg.instruments.plots.neurons import neuron_bars as neuron_bars
from tinygrad_vg.instruments.plots.neurons import slope_curve as slope_curve
from tinygrad_vg.instruments.plots.training import heat_map as heat_map
from tinygrad_vg.instruments.plots.training import learning_speed as learning_speed
