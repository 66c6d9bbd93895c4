"""The layers that the models are made of: pure functions, and Linen modules where there are parameters or randomness.

What Flax and JAX have in the right form is used from there: `nn.Dense`, `nn.GroupNorm`, `jax.nn.relu`. What only
teaches is in `fcnn.nn.teaching`.
"""

from fcnn.nn.activations import ACTIVATIONS, activation
from fcnn.nn.conv import Conv
from fcnn.nn.conv_norm_act import ConvNormAct, Layer, conv_norm_act, norm_act
from fcnn.nn.dense import Dense
from fcnn.nn.dropout import Dropout, StochasticDepth, dropout
from fcnn.nn.fast_conv import conv_general_dilated
from fcnn.nn.fold import fold_into
from fcnn.nn.initializers import INITIALIZERS, initializer, initializer_for
from fcnn.nn.layer_scale import LayerScale
from fcnn.nn.norm import BatchNorm, local_response_norm
from fcnn.nn.onednn import cpu_convolutions
from fcnn.nn.pool import adaptive_avg_pool, avg_pool, global_avg_pool, max_pool
from fcnn.nn.squeeze_excite import SqueezeExcite
from fcnn.nn.weight_standardization import standardize_kernel, standardized_conv_general_dilated

__all__ = [
    "ACTIVATIONS",
    "INITIALIZERS",
    "BatchNorm",
    "Conv",
    "ConvNormAct",
    "Dense",
    "Dropout",
    "Layer",
    "LayerScale",
    "SqueezeExcite",
    "StochasticDepth",
    "activation",
    "adaptive_avg_pool",
    "avg_pool",
    "conv_general_dilated",
    "conv_norm_act",
    "cpu_convolutions",
    "dropout",
    "fold_into",
    "global_avg_pool",
    "initializer",
    "initializer_for",
    "local_response_norm",
    "max_pool",
    "norm_act",
    "standardize_kernel",
    "standardized_conv_general_dilated",
]
