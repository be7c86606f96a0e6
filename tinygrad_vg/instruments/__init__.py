"""Instruments: they measure the gradients of a network layer by layer, and explain how the gradients change."""

from tinygrad_vg.instruments.diagnose import diagnose
from tinygrad_vg.instruments.dying import Dying, born_dead
from tinygrad_vg.instruments.factors import Change, Factor, cascade, chain_factors
from tinygrad_vg.instruments.history import History
from tinygrad_vg.instruments.ledger import Ledger
from tinygrad_vg.instruments.ledger_history import LedgerHistory
from tinygrad_vg.instruments.magnitude import log10_norm
from tinygrad_vg.instruments.microscope import microscope
from tinygrad_vg.instruments.naming import Named
from tinygrad_vg.instruments.recorder import GradientRecorder
from tinygrad_vg.instruments.spectra import singular_alignment, stable_rank
from tinygrad_vg.instruments.spikes import Spike
from tinygrad_vg.instruments.theory import MeanField, critical_weight_std, mean_field, mean_field_of
from tinygrad_vg.instruments.verdict import Diagnosis, LayerVerdict
from tinygrad_vg.instruments.what_if import WhatIf, what_if

__all__ = [
    "Change", "Diagnosis", "Dying", "Factor", "GradientRecorder", "History", "LayerVerdict", "Ledger", "LedgerHistory",
    "MeanField", "Named", "Spike", "WhatIf", "born_dead", "cascade", "chain_factors", "critical_weight_std", "diagnose",
    "log10_norm", "mean_field", "mean_field_of", "microscope", "singular_alignment", "stable_rank", "what_if",
]  # fmt: skip
