"""The earlier name of `tinygrad_vg.plots`. No other module of the instruments imports it."""

from tinygrad_vg.plots import blame, heat_map, ladder, learning_speed, neuron_bars, over_time, slope_curve

__all__ = ["blame", "heat_map", "ladder", "learning_speed", "neuron_bars", "over_time", "slope_curve"]
