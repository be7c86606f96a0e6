"""Networks: modules, layers, losses, initializers, and ensembles of networks."""

import typing

from tinygrad_vg.nn import init
from tinygrad_vg.nn.activations import Activation, Identity, ReLU, Sigmoid, Softplus, Tanh
from tinygrad_vg.nn.cells import GRUCell, LSTMCell, Recurrence, RNNCell
from tinygrad_vg.nn.classification import CrossEntropyLoss, NLLLoss
from tinygrad_vg.nn.clipping import utils
from tinygrad_vg.nn.containers import ModuleList, Residual, Sequential, mlp
from tinygrad_vg.nn.convolution import Conv2d
from tinygrad_vg.nn.dropout import Dropout
from tinygrad_vg.nn.ensemble import beside_batch, by_member, feature_axis, member_axis, members_of, stack, unstack
from tinygrad_vg.nn.layer import Layer
from tinygrad_vg.nn.linear import Linear
from tinygrad_vg.nn.losses import BCEWithLogitsLoss, HuberLoss, L1Loss, MSELoss
from tinygrad_vg.nn.module import Module
from tinygrad_vg.nn.normalization import BatchNorm1d, BatchNorm2d, LayerNorm
from tinygrad_vg.nn.parameter import Buffer, Filters, Parameter
from tinygrad_vg.nn.pooling import AvgPool2d, Flatten, MaxPool2d
from tinygrad_vg.nn.rectifiers import ELU, GELU, SELU, LeakyReLU, SiLU
from tinygrad_vg.nn.recurrent import GRU, LSTM, RNN
from tinygrad_vg.nn.softmax import LogSoftmax, Softmax
from tinygrad_vg.nn.summary import summary
from tinygrad_vg.nn.time_steps import TimeStep, time_steps

__all__ = [
    "ELU", "GELU", "GRU", "LSTM", "RNN", "SELU", "Activation", "AvgPool2d", "BCEWithLogitsLoss", "BatchNorm1d",
    "BatchNorm2d", "Buffer", "Conv2d", "CrossEntropyLoss", "Dropout", "Filters", "Flatten", "GRUCell", "HuberLoss",
    "Identity",
    "L1Loss", "LSTMCell", "Layer", "LayerNorm", "LeakyReLU", "Linear", "LogSoftmax", "MSELoss", "MaxPool2d", "Module",
    "ModuleList", "NLLLoss", "Parameter", "RNNCell", "ReLU", "Recurrence", "Residual", "Sequential", "SiLU", "Sigmoid",
    "Softmax", "Softplus", "Tanh", "TimeStep", "beside_batch", "by_member", "feature_axis", "init", "member_axis",
    "members_of", "mlp", "stack", "summary", "time_steps", "unstack", "utils",
]  # fmt: skip

if not typing.TYPE_CHECKING:  # with it a type checker would take any name for one of this module

    def __getattr__(name: str) -> typing.NoReturn:
        from tinygrad_vg.engine.instead import NN

        instead = f"; write {NN[name]}" if name in NN else ""
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}{instead}")
