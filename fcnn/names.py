"""What there is, by name: so that a misspelt name is answered at once, before jax is imported.

The tables of the implementations (`fcnn.models`, `fcnn.optim`, `fcnn.data`) hold the same names; a test compares them.
"""

MODELS = (
    "linear",
    "mlp",
    "resnet20",
    "resnet32",
    "resnet44",
    "resnet56",
    "resnet110",
    "resnet1202",
)

# The named data sets; beside them there are folder:PATH and tfds:NAME[/CONFIG][:VERSION].
DATASETS = ("digits", "mnist", "fashion_mnist", "cifar10", "cifar100")

# What follows "tfds:". A dotted name, my_module.my_set, is a builder that Python finds in a module of one's own.
TFDS_NAME = r"(?P<name>\w+(\.\w+)*)(/(?P<config>[\w.+-]+))?(:(?P<version>\d+\.\d+\.\d+))?"

# The optimizers, each with the options that it takes and their defaults.
OPTIMIZERS: dict[str, dict[str, float]] = {
    "sgd": {"weight_decay": 0.0},
    "momentum": {"momentum": 0.9, "weight_decay": 0.0},
    "nesterov": {"momentum": 0.9, "weight_decay": 0.0},
    "adagrad": {"epsilon": 1e-10, "weight_decay": 0.0},
    "rmsprop": {"beta2": 0.9, "momentum": 0.0, "epsilon": 1e-8, "weight_decay": 0.0},
    "adam": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.0},
    "adamw": {"beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weight_decay": 0.01},
    "lars": {"momentum": 0.9, "trust_coefficient": 0.001, "weight_decay": 1e-4},
}

# The learning-rate schedules, likewise.
SCHEDULES: dict[str, dict[str, float | tuple[float, ...]]] = {
    "constant": {},
    "step": {"milestones": (0.5, 0.75), "decay_factor": 0.1},
    "cosine": {"final_scale": 0.0},
    "linear": {"final_scale": 0.0},
    "exponential": {"final_scale": 0.01},
    "one_cycle": {"rise": 0.3, "final_scale": 4e-6},
}

PRECISIONS = ("float32", "bfloat16")
