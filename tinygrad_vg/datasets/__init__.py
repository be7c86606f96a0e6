"""Data sets: MNIST, which is part of the package, a reader for other data sets in its format, and batches."""

from tinygrad_vg.datasets.batches import batches
from tinygrad_vg.datasets.idx import load_idx
from tinygrad_vg.datasets.mnist import mnist

__all__ = ["batches", "load_idx", "mnist"]
