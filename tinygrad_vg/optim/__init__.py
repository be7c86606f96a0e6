"""Optimizers: SGD and Adam, with PyTorch's arguments, parameter groups and state dicts."""

from tinygrad_vg.optim.adam import Adam
from tinygrad_vg.optim.optimizer import Optimizer
from tinygrad_vg.optim.sgd import SGD

__all__ = ["SGD", "Adam", "Optimizer"]
