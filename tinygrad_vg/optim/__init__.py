"""Optimizers, with PyTorch's arguments, parameter groups and state dicts, and schedules of their learning rates."""

from tinygrad_vg.optim import lr_scheduler
from tinygrad_vg.optim.adam import Adam
from tinygrad_vg.optim.adamw import AdamW
from tinygrad_vg.optim.optimizer import Optimizer
from tinygrad_vg.optim.rmsprop import RMSprop
from tinygrad_vg.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
