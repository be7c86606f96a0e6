"""Pictures of gradient graphs: a `graphviz.Digraph` that carries the chain rule, and its file."""

from tinygrad_vg.draw.graph import graph as graph
from tinygrad_vg.draw.layers import layers as layers
from tinygrad_vg.draw.neurons import neurons as neurons
from tinygrad_vg.draw.save import save as save
