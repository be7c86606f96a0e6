"""The bridge to PyTorch: networks of `torch.nn` as networks of `tg.nn` and back. It needs the extra `torch`."""

from tinygrad_vg.bridges.torch.into import into
from tinygrad_vg.bridges.torch.twin import twin

__all__ = ["into", "twin"]
