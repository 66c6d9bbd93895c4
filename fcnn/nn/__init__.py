"""The building blocks: pure functions, with a thin Linen module where there are parameters or randomness."""

from fcnn.nn.dropout import Dropout, dropout
from fcnn.nn.small_conv import conv_general_dilated

__all__ = ["Dropout", "conv_general_dilated", "dropout"]
