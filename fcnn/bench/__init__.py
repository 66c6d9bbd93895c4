"""Measurements of speed: training and evaluation steps (`compare.py`), the input pipeline (`resident.py`, `folder.py`),
and what a step would need on a TPU (`plan.py`).

Each contender of a comparison is a process of its own (`worker.py`) that computes only when it is its turn. They take
turns in rounds, so that a busy machine is as busy for one as for the other, and the result is the median over the
rounds of the ratio within a round.
"""
