"""Larq's operations for torch tensors, under Larq's names and with its semantics (Larq 0.13)."""

from nichenas.domains.binary.larq.activations import hard_tanh
from nichenas.domains.binary.larq.activations import leaky_tanh
from nichenas.domains.binary.larq.constraints import WeightClip
from nichenas.domains.binary.larq.constraints import apply_constraints
from nichenas.domains.binary.larq.constraints import constrain
from nichenas.domains.binary.larq.constraints import weight_clip
from nichenas.domains.binary.larq.context import quantized_scope
from nichenas.domains.binary.larq.context import should_quantize
from nichenas.domains.binary.larq.layers import QuantConv1D
from nichenas.domains.binary.larq.layers import QuantConv2D
from nichenas.domains.binary.larq.layers import QuantConv3D
from nichenas.domains.binary.larq.layers import QuantDense
from nichenas.domains.binary.larq.layers import QuantDepthwiseConv2D
from nichenas.domains.binary.larq.layers import QuantSeparableConv1D
from nichenas.domains.binary.larq.layers import QuantSeparableConv2D
from nichenas.domains.binary.larq.locally_connected import QuantLocallyConnected1D
from nichenas.domains.binary.larq.locally_connected import QuantLocallyConnected2D
from nichenas.domains.binary.larq.metrics import FlipRatio
from nichenas.domains.binary.larq.metrics import get_training_metrics
from nichenas.domains.binary.larq.metrics import metrics_scope
from nichenas.domains.binary.larq.optimizers import Bop
from nichenas.domains.binary.larq.optimizers import CaseOptimizer
from nichenas.domains.binary.larq.optimizers import HyperparameterScheduler
from nichenas.domains.binary.larq.quantizers import ApproxSign
from nichenas.domains.binary.larq.quantizers import DoReFa
from nichenas.domains.binary.larq.quantizers import DoReFaQuantizer
from nichenas.domains.binary.larq.quantizers import MagnitudeAwareSign
from nichenas.domains.binary.larq.quantizers import NoOp
from nichenas.domains.binary.larq.quantizers import NoOpQuantizer
from nichenas.domains.binary.larq.quantizers import Quantizer
from nichenas.domains.binary.larq.quantizers import SteHeaviside
from nichenas.domains.binary.larq.quantizers import SteSign
from nichenas.domains.binary.larq.quantizers import SteTern
from nichenas.domains.binary.larq.quantizers import SwishSign
from nichenas.domains.binary.larq.quantizers import gradient_preset
from nichenas.domains.binary.larq.transposed import QuantConv2DTranspose
from nichenas.domains.binary.larq.transposed import QuantConv3DTranspose

__all__ = [
    "ApproxSign",
    "Bop",
    "CaseOptimizer",
    "DoReFa",
    "DoReFaQuantizer",
    "FlipRatio",
    "HyperparameterScheduler",
    "MagnitudeAwareSign",
    "NoOp",
    "NoOpQuantizer",
    "QuantConv1D",
    "QuantConv2D",
    "QuantConv2DTranspose",
    "QuantConv3D",
    "QuantConv3DTranspose",
    "QuantDense",
    "QuantDepthwiseConv2D",
    "QuantLocallyConnected1D",
    "QuantLocallyConnected2D",
    "QuantSeparableConv1D",
    "QuantSeparableConv2D",
    "Quantizer",
    "SteHeaviside",
    "SteSign",
    "SteTern",
    "SwishSign",
    "WeightClip",
    "apply_constraints",
    "constrain",
    "get_training_metrics",
    "gradient_preset",
    "hard_tanh",
    "leaky_tanh",
    "metrics_scope",
    "quantized_scope",
    "should_quantize",
    "weight_clip",
]
