"""Pictures of gradient graphs: a `graphviz.Digraph` that carries the chain rule, and its file."""

from tinygrad_vg.draw.graph import graph
from tinygrad_vg.draw.layers import layers
from tinygrad_vg.draw.neurons import neurons
from tinygrad_vg.draw.save import save

__all__ = ["graph", "layers", "neurons", "save"]
