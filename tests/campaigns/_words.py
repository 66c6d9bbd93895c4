"""The words of the generated command lines: numbers, names and lines of presets that nobody expects."""

NUMBERS = (
    "0", "1", "-1", "2", "3", "7", "10", "100", "1000000000000", "2147483647", "2147483648", "4294967295",
    "9223372036854775808", "1" + "0" * 400, "-1000000000000000000000000000000", "1" * 5000, "0.5", "-0.5", "1e-320",
    "1e308", "1e400", "nan", "inf", "-inf", "1_000", "0x10", "1e3", "\u0663", "+1", " 1", "1,2", "1/2", "None",
    "True", "0.999999999", "0.1 0.2",
)  # fmt: skip
"""In the place of a number."""

NAMES = (
    "", " ", "a", "\u00e9", "\u65e5\u672c", "a b", "--x", "-", ".", "..", "/", "~", "~nobody", "*", "[a]", "{0}",
    "%s", "$HOME", "a" * 250, "a" * 300, "b/" * 200, "c" * 5000, "\u001b[31mred\u001b[0m", "\u0007bell", "a\nb", "a\rb",
    "\u009b31m", "\udcff", "\u202egnp.exe", "\u200b", "/dev/null", "/dev/full", "/proc/self/mem", "con", "folder:",
    "folder:photos", "tfds:mnist", "tfds:../x", "digits", "runs/digits", "runs", "photos", "mine.py",
    "photos/ant/0.png", "runs/auto", "http://127.0.0.1:9/x", "timm/x", "file:///etc/passwd", "resnet18", "lenet5",
)  # fmt: skip
"""Of files, folders, networks and everything else."""

LINES = (
    "CONFIG = 3", "CONFIG = None", "CONFIG = Config", "del CONFIG", "raise ValueError('\\x1b[31m')",
    "raise SystemExit(3)", "1 / 0", "def f(): f()\nf()", "import nothing", "(", "\tx = 1",
    "x = '\\ud800'; raise ValueError(x)", "CONFIG = Config(seed='a')", "CONFIG = Config(seed=10**400)",
    "CONFIG = Config(seed=float('nan'))", "CONFIG = Config(train=TrainConfig(steps=10**12))",
    "CONFIG = Config(train=TrainConfig(epochs=1e300))", "CONFIG = Config(train=TrainConfig(batch_size=10**9))",
    "CONFIG = Config(train=TrainConfig(batch_size='8'))", "CONFIG = Config(train=3)",
    "CONFIG = Config(model=ModelConfig(name=['a']))", "CONFIG = Config(model=None)",
    "CONFIG = Config(data=DataConfig(name=3))", "CONFIG = Config(data=DataConfig(name='\\ud800'))",
    "CONFIG = Config(data=DataConfig(mean=3))", "CONFIG = Config(data=DataConfig(value_range=(1,)))",
    "CONFIG = Config(optim=OptimConfig(milestones=3))", "CONFIG = Config(optim=OptimConfig(milestones=('a',)))",
    "CONFIG = Config(model=ModelConfig(options=3))", "CONFIG = Config(model=ModelConfig(options={3: 4}))",
    "CONFIG = Config(model=ModelConfig(options={'a': 4}))", "CONFIG = Config(nme=3)",
    "CONFIG = Config(train=TrainConfig(nme=3))", "model = 3", "def model(config): return 3",
    "def model(config): raise OSError('a')", "def dataset(config): return 3", "def optimizer(config): return None",
    "def optimizer(config): return 3", "def augment(config): return lambda key, batch: 3",
    "def loss(config): return lambda logits, batch: 3.0", "def callbacks(config): return 3",
    "def callbacks(config): return [3]", "def callbacks(config): return [lambda record: 1 / 0]",
    "def loss(config): return 3", "def loss(config): return lambda logits, batch: logits",
    "def augment(config): return lambda key, batch: batch", "raise Exception('a\\n' * 50)", "raise UserWarning",
    "CONFIG = Config(precision='float16')", "print('hello')",
    "CONFIG = Config(augment=AugmentConfig(mixup=-1))", "def dataset(config): raise SystemExit(1)",
    "def model(config, more): return None", "class CONFIG: pass", "model = None",
)  # fmt: skip
"""Of a preset, after one that is well."""
