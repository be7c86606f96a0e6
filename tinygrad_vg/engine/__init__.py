"""The engine: automatic differentiation on NumPy. It knows nothing of networks.

The names in `__all__` are public. `tinygrad_vg` itself re-exports the names that most users need; instruments and
pictures use the others too.
"""

from tinygrad_vg.engine import ops
from tinygrad_vg.engine.extended import ExtendedArray
from tinygrad_vg.engine.following import Follower, Room, Watch
from tinygrad_vg.engine.grad import grad, jvp
from tinygrad_vg.engine.gradcheck import GradcheckError, gradcheck
from tinygrad_vg.engine.graph import Node
from tinygrad_vg.engine.hooks import Hook, HookHandle, Walk, listen
from tinygrad_vg.engine.operations import Operation, defvjp, differentiable, name_of
from tinygrad_vg.engine.reading import ModuleCall, ancestors, between, calls, cotangents, local_derivative, share
from tinygrad_vg.engine.recording import enable_grad, is_grad_enabled, no_grad, record_everything
from tinygrad_vg.engine.tensor import Tensor
from tinygrad_vg.engine.written import checked, was_written

__all__ = [
    "ExtendedArray", "Follower", "GradcheckError", "Hook", "HookHandle", "ModuleCall", "Node", "Operation", "Room",
    "Tensor", "Walk", "Watch",
    "ancestors", "between", "calls", "checked", "cotangents", "defvjp", "differentiable", "enable_grad", "grad",
    "gradcheck", "is_grad_enabled", "jvp", "listen", "local_derivative", "name_of", "no_grad", "ops",
    "record_everything", "share", "was_written",
]  # fmt: skip
