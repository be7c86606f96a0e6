"""Data sets: MNIST, which is part of the package, and a reader for other data sets in its format."""

from tinygrad_vg.datasets.idx import load_idx
from tinygrad_vg.datasets.mnist import mnist

__all__ = ["load_idx", "mnist"]
