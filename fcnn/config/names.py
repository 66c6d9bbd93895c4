"""What there is, by name: so that a misspelt name is answered at once, before jax is imported.

The architectures are in `fcnn.registry`. The tables of the implementations (`fcnn.training.optim`, `fcnn.data`) hold
the same names; a test compares them.
"""

from typing import Literal

# Of `fcnn.nn`.
ACTIVATIONS = (
    *("relu", "relu6", "leaky_relu", "elu", "selu", "gelu", "gelu_tanh", "silu", "mish", "hard_swish"),
    *("sigmoid", "hard_sigmoid", "tanh", "softplus"),
)
NORMS = ("batch", "group", "layer", "instance", "none")
INITIALIZERS = (
    *("lecun_normal", "lecun_uniform", "xavier_normal", "xavier_uniform", "glorot_normal", "glorot_uniform"),
    *("he_normal", "he_uniform", "kaiming_normal", "kaiming_uniform", "orthogonal", "normal"),
)

# The named data sets; beside them there are folder:PATH and tfds:NAME[/CONFIG][:VERSION].
DATASETS = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100")

# What follows "tfds:". A dotted name, my_module.my_set, is a builder that Python finds in a module of one's own.
TFDS_NAME = r"(?P<name>\w+(\.\w+)*)(/(?P<config>[\w.+-]+))?(:(?P<version>\d+\.\d+\.\d+))?"

# Of `fcnn.augment`.
POLICIES = ("none", "rand_augment", "trivial_augment", "auto_augment")

# Of `fcnn.training.metrics`.
LOSSES = ("cross_entropy", "binary_cross_entropy")

# The optimizers, each with the options that it takes and their defaults.
OPTIMIZERS: dict[str, dict[str, float]] = {
    "sgd": {"momentum": 0.9, "weight_decay": 0.0},
    "adagrad": {"epsilon": 1e-10, "weight_decay": 0.0},
    "rmsprop": {"beta2": 0.9, "momentum": 0.0, "epsilon": 1e-8, "weight_decay": 0.0},
    "adam": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0},
    "adamw": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01},
    "lamb": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-6, "weight_decay": 0.01},
    "muon": {"momentum": 0.95, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0},
    "schedule_free_sgd": {"beta1": 0.9, "weight_decay": 0.0},
    "schedule_free_adamw": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01},
    "lars": {"momentum": 0.9, "trust_coefficient": 0.001, "weight_decay": 1e-4},
}

Interpolation = Literal["bilinear", "bicubic"]
"""How photographs are resized."""

# The learning-rate schedules, each with the options that it takes and their defaults.
SCHEDULES: dict[str, dict[str, float | tuple[float, ...]]] = {
    "constant": {},
    "step": {"milestones": (0.5, 0.75), "gamma": 0.1},
    "cosine": {"end_lr_factor": 0.0},
    "linear": {"end_lr_factor": 0.0},
    "exponential": {"end_lr_factor": 0.01},
    "one_cycle": {"pct_start": 0.3, "end_lr_factor": 4e-6},
}

# What to do with a trained network's weights.
STRATEGIES = ("auto", "pretrained", "head", "last_block", "full", "scratch", "mean_var")

PRECISIONS = ("float32", "bfloat16")
