"""Pictures of gradient graphs: functions that return a `graphviz.Digraph`, and `save`, which writes it to a file."""

from tinygrad_vg.draw.chain import chain
from tinygrad_vg.draw.graph import graph
from tinygrad_vg.draw.layers import layers
from tinygrad_vg.draw.neurons import neurons
from tinygrad_vg.draw.save import save

__all__ = ["chain", "graph", "layers", "neurons", "save"]
