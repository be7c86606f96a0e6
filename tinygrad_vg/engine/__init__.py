"""The engine: automatic differentiation on NumPy. It knows nothing of networks.

The names in `__all__` are public. `tinygrad_vg` itself re-exports the names that most users need; instruments and
pictures use the others too.
"""

from tinygrad_vg.engine import ops as ops
from tinygrad_vg.engine.extended import ExtendedArray as ExtendedArray
from tinygrad_vg.engine.grad import grad as grad
from tinygrad_vg.engine.grad import jvp as jvp
from tinygrad_vg.engine.gradcheck import GradcheckError as GradcheckError
from tinygrad_vg.engine.gradcheck import gradcheck as gradcheck
from tinygrad_vg.engine.graph import Call as Call
from tinygrad_vg.engine.graph import Node as Node
from tinygrad_vg.engine.hooks import Hook as Hook
from tinygrad_vg.engine.hooks import HookHandle as HookHandle
from tinygrad_vg.engine.hooks import Walk as Walk
from tinygrad_vg.engine.hooks import listen as listen
from tinygrad_vg.engine.operations import Operation as Operation
from tinygrad_vg.engine.operations import defvjp as defvjp
from tinygrad_vg.engine.operations import differentiable as differentiable
from tinygrad_vg.engine.operations import name_of as name_of
from tinygrad_vg.engine.reading import ancestors as ancestors
from tinygrad_vg.engine.reading import between as between
from tinygrad_vg.engine.reading import cotangents as cotangents
from tinygrad_vg.engine.reading import local_derivative as local_derivative
from tinygrad_vg.engine.reading import share as share
from tinygrad_vg.engine.recording import enable_grad as enable_grad
from tinygrad_vg.engine.recording import is_grad_enabled as is_grad_enabled
from tinygrad_vg.engine.recording import no_grad as no_grad
from tinygrad_vg.engine.recording import record_everything as record_everything
from tinygrad_vg.engine.tensor import Tensor as Tensor

__all__ = [
    "Call",
    "ExtendedArray",
    "GradcheckError",
    "Hook",
    "HookHandle",
    "Node",
    "Operation",
    "Tensor",
    "Walk",
    "ancestors",
    "between",
    "cotangents",
    "defvjp",
    "differentiable",
    "enable_grad",
    "grad",
    "gradcheck",
    "is_grad_enabled",
    "jvp",
    "listen",
    "local_derivative",
    "name_of",
    "no_grad",
    "ops",
    "record_everything",
    "share",
]
