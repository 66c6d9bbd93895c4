"""Weights of others in, ours out: between PyTorch's names and layouts and our variables."""

from fcnn.weights.torch_names import from_torch, to_torch

__all__ = ["from_torch", "to_torch"]
