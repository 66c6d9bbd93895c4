"""How good a classifier of photographs becomes in so many minutes: `fcnn train`, a PyTorch loop from the same weights
(`torch_loop.py`), and logistic regression on the features of these weights (`jax_side.py`), on the same images.

Each training is a process of its own; its result is a line of results.jsonl, and isn't measured again (`measure.py`).
"""
