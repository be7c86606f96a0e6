"""Networks: modules, layers, losses, initializers, and ensembles of networks."""

from tinygrad_vg.nn import init
from tinygrad_vg.nn.activations import Activation, Identity, ReLU, Sigmoid, Softplus, Tanh
from tinygrad_vg.nn.cells import GRUCell, LSTMCell, Recurrence, RNNCell
from tinygrad_vg.nn.clipping import utils
from tinygrad_vg.nn.containers import Residual, Sequential, mlp
from tinygrad_vg.nn.dropout import Dropout
from tinygrad_vg.nn.ensemble import beside_batch, by_member, member_axis, members_of, stack, unstack
from tinygrad_vg.nn.linear import Linear
from tinygrad_vg.nn.losses import BCEWithLogitsLoss, CrossEntropyLoss, MSELoss
from tinygrad_vg.nn.module import Module
from tinygrad_vg.nn.normalization import LayerNorm
from tinygrad_vg.nn.parameter import Buffer, Parameter
from tinygrad_vg.nn.recurrent import GRU, LSTM, RNN
from tinygrad_vg.nn.time_steps import TimeStep, time_steps

__all__ = [
    "GRU", "LSTM", "RNN", "Activation", "BCEWithLogitsLoss", "Buffer", "CrossEntropyLoss", "Dropout", "GRUCell",
    "Identity", "LSTMCell", "LayerNorm", "Linear", "MSELoss", "Module", "Parameter", "RNNCell", "ReLU", "Recurrence",
    "Residual", "Sequential", "Sigmoid", "Softplus", "Tanh", "TimeStep", "beside_batch", "by_member", "init",
    "member_axis", "members_of", "mlp", "stack", "time_steps", "unstack", "utils",
]  # fmt: skip
