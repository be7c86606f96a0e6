"""Instruments: what the gradients of a network are, layer by layer and step by step."""

from tinygrad_vg.instruments.magnitude import log10_norm as log10_norm
from tinygrad_vg.instruments.recorder import GradientRecorder as GradientRecorder
from tinygrad_vg.instruments.recorder import History as History
