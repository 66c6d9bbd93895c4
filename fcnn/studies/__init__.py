"""The classic claims about convolutional networks, each as a small experiment that anyone can repeat: `fcnn study`.

A file holds one claim, or those on one thing. Each study measures rows of numbers, and its verdict is computed from
them by a criterion that was written down before. `fcnn.registry.STUDIES` lists them.
"""
