"""The building blocks: pure functions, with a thin Linen module where there are parameters or randomness."""

from fcnn.nn.dropout import Dropout, dropout

__all__ = ["Dropout", "dropout"]
