"""Measurements that prove, or disprove, that fcnn is fast: `resident.py` and `folder.py` of what feeds a step, the
rest of steps.

How fast a training or evaluation step is, beside PyTorch's and plain XLA's, is measured so that it can be believed.

Each contender is a process of its own (`worker.py`), in which nothing is computed but when it's its turn. They take
turns in rounds, so that a busy machine is as busy for one as for the other, and what counts is the median over the
rounds of the ratio within a round (`compare.py`).
"""
