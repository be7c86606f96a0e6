"""Networks: modules, layers, losses, initializers, and ensembles of networks."""

from tinygrad_vg.nn import init as init
from tinygrad_vg.nn.ensemble import stack as stack
from tinygrad_vg.nn.ensemble import unstack as unstack
from tinygrad_vg.nn.layers import Identity as Identity
from tinygrad_vg.nn.layers import LayerNorm as LayerNorm
from tinygrad_vg.nn.layers import Linear as Linear
from tinygrad_vg.nn.layers import ReLU as ReLU
from tinygrad_vg.nn.layers import Residual as Residual
from tinygrad_vg.nn.layers import Sigmoid as Sigmoid
from tinygrad_vg.nn.layers import Tanh as Tanh
from tinygrad_vg.nn.losses import BCEWithLogitsLoss as BCEWithLogitsLoss
from tinygrad_vg.nn.losses import CrossEntropyLoss as CrossEntropyLoss
from tinygrad_vg.nn.losses import MSELoss as MSELoss
from tinygrad_vg.nn.module import Module as Module
from tinygrad_vg.nn.module import Parameter as Parameter
from tinygrad_vg.nn.module import Sequential as Sequential
