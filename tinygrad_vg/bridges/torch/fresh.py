"""Fresh gradients: ∂C/∂b read from `.grad` when a backward has ended, where each backward begins without gradients."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from tinygrad_vg.bridges.torch.installed import pytorch
from tinygrad_vg.bridges.torch.places import Place

_VERSION = attrgetter("_version")  # counts what is written into a tensor
_SEEN = 2  # backwards that must have been fresh, one after the other, before `.grad` is read


class FreshGradients:
    """Reads the gradients of biases from `.grad`, so that a backward needs a hook on one parameter only.

    A gradient is fresh if PyTorch has made a new tensor for it in this backward: another one than after the backward
    before, into which nothing was added. Then it is ∂C/∂b of this backward, bit for bit. Where gradients accumulate,
    are set to 0 in place, or do not stay in `.grad`, they are not fresh, and a recorder needs a hook on every bias.

    Args:
        biases: of one dtype, on one device.
        anchor: the parameter whose hook calls `look`.

    Attributes:
        can_be_read: whether all gradients have been fresh so far.
    """

    def __init__(self, biases: Sequence[Any], anchor: Any) -> None:
        self._biases, self._anchor = biases, anchor
        self._sizes = [bias.numel() for bias in biases]
        self._cat = pytorch().cat
        self._is_recorded = pytorch().is_grad_enabled
        self._before: list[Any] = []  # the gradients after the backward before
        self._seen = 0
        self.can_be_read = True

    @property
    def is_ready(self) -> bool:
        """Whether the gradients of the next backward may be read: after two whose gradients were fresh."""
        return self.can_be_read and self._seen >= _SEEN

    @property
    def is_decided(self) -> bool:
        """Whether it is known of the next backward whether its gradients may be read."""
        return not self.can_be_read or self._seen >= _SEEN

    def forget(self) -> None:
        """Forget the backwards so far: others have come, or will come, between."""
        self._before, self._seen = [], 0

    def look(self) -> None:
        """Look at the anchor in a backward, before its gradient is added. A graph of the gradients is not fresh."""
        if self._anchor.grad is not None or self._is_recorded():
            self.can_be_read = False

    def note(self) -> None:
        """Note the gradients when a backward has ended."""
        if not self.can_be_read:
            return
        self._seen += 1
        self._before = [bias.grad for bias in self._biases]
        if self._anchor.grad is None:  # it did not stay
            self.can_be_read = False

    def take(self) -> tuple[list[int], Any]:
        """The gradients of the backward that has ended, and note them.

        Returns:
            The positions of the biases that it has reached, and a tensor with all their gradients, one after the other.
            Gradients that are not fresh are left out.
        """
        before = self._before
        self.note()
        found = []
        for i, gradient in enumerate(self._before if self.can_be_read else ()):
            if gradient is None:
                continue  # the backward has not reached it
            if gradient is before[i] or _VERSION(gradient):
                self.can_be_read = False
            else:
                found.append(i)
        if not found:
            return [], None
        return found, self._cat([self._before[i].reshape(-1) for i in found])

    def parts(self, found: list[int], together: Any) -> dict[int, Any]:
        """What `take` has returned, by the positions of the biases."""
        if not found:
            return {}
        return dict(zip(found, together.split([self._sizes[i] for i in found]), strict=True))


def fresh_gradients(places: Sequence[Place], anchor: Any) -> FreshGradients | None:
    """Of the biases of places; None if one has no bias, or if they are of several dtypes or devices."""
    biases = [place.bias for place in places]
    if any(bias is None for bias in biases) or len({(bias.dtype, bias.device) for bias in biases}) > 1:
        return None
    return FreshGradients(biases, anchor)
