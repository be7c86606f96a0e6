"""Instruments: what the gradients of a network are, layer by layer and step by step."""

from tinygrad_vg.instruments.factors import Change as Change
from tinygrad_vg.instruments.factors import Factor as Factor
from tinygrad_vg.instruments.factors import cascade as cascade
from tinygrad_vg.instruments.factors import chain_factors as chain_factors
from tinygrad_vg.instruments.history import History as History
from tinygrad_vg.instruments.ledger import Ledger as Ledger
from tinygrad_vg.instruments.magnitude import log10_norm as log10_norm
from tinygrad_vg.instruments.recorder import GradientRecorder as GradientRecorder
from tinygrad_vg.instruments.theory import MeanField as MeanField
from tinygrad_vg.instruments.theory import critical_weight_std as critical_weight_std
from tinygrad_vg.instruments.theory import mean_field as mean_field
from tinygrad_vg.instruments.theory import mean_field_of as mean_field_of
from tinygrad_vg.instruments.verdict import Diagnosis as Diagnosis
from tinygrad_vg.instruments.verdict import LayerVerdict as LayerVerdict
from tinygrad_vg.instruments.verdict import diagnose as diagnose
from tinygrad_vg.instruments.what_if import WhatIf as WhatIf
from tinygrad_vg.instruments.what_if import what_if as what_if
