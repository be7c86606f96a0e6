"""The bridge to PyTorch: networks of `torch.nn` as networks of `tg.nn` and back. It needs the extra `torch`."""

from tinygrad_vg.bridges.torch.clip import GradientClip
from tinygrad_vg.bridges.torch.ledger import Ledger
from tinygrad_vg.bridges.torch.recorder import GradientRecorder

__all__ = ["GradientClip", "GradientRecorder", "Ledger"]
