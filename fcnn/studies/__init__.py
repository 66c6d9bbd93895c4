"""The classic claims about convolutional networks, each as a small experiment that anyone can repeat: `fcnn study`.

A file holds one claim, or those on one thing. Each study measures rows of numbers, and its verdict is computed from
them by a criterion that was written down before.
"""

from fcnn.studies.initialization import Initialization
from fcnn.studies.linear_stack import LinearStack
from fcnn.studies.max_pooling import MaxPooling
from fcnn.studies.normalization import BatchNormInit, BatchNormRates, BatchSize
from fcnn.studies.optimizers import Optimizers
from fcnn.studies.random_search import RandomSearch
from fcnn.studies.regularization import Regularization
from fcnn.studies.residual import Residual
from fcnn.studies.small_kernels import SmallKernels
from fcnn.studies.study import Study, Verdict
from fcnn.studies.transfer import Transfer
from fcnn.studies.vanishing_gradient import VanishingGradient

STUDIES: dict[str, type[Study]] = {
    "initialization": Initialization,
    "vanishing_gradient": VanishingGradient,
    "residual": Residual,
    "batch_norm_rates": BatchNormRates,
    "batch_norm_init": BatchNormInit,
    "batch_size": BatchSize,
    "optimizers": Optimizers,
    "regularization": Regularization,
    "small_kernels": SmallKernels,
    "linear_stack": LinearStack,
    "max_pooling": MaxPooling,
    "random_search": RandomSearch,
    "transfer": Transfer,
}
"""The studies by name, in the order in which they are listed."""

__all__ = ["STUDIES", "Study", "Verdict"]
