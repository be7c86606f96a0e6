"""Data sets to train on: MNIST, shipped with the package, and a reader for others in its format."""

from tinygrad_vg.datasets.idx import load_idx
from tinygrad_vg.datasets.mnist import mnist

__all__ = ["load_idx", "mnist"]
