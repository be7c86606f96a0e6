"""The bridge to PyTorch: instruments on networks of `torch.nn`, and such networks as networks of `tg.nn` and back.

It needs the extra `torch`.
"""

from tinygrad_vg.bridges.torch.clip import GradientClip
from tinygrad_vg.bridges.torch.into import into
from tinygrad_vg.bridges.torch.ledger import Ledger
from tinygrad_vg.bridges.torch.recorder import GradientRecorder
from tinygrad_vg.bridges.torch.twin import twin

__all__ = ["GradientClip", "GradientRecorder", "Ledger", "into", "twin"]
