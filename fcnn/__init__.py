"""fcnn: functional convolutional networks, the classic image classifiers in JAX and Flax."""

__version__ = "0.1.0"
