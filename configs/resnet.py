"""ResNet-20 on the embedded digits."""

from fcnn.config import Config, DataConfig, ModelConfig, OptimConfig, TrainConfig

CONFIG = Config(
    data=DataConfig(name="digits"),
    model=ModelConfig(name="resnet20"),
    optim=OptimConfig(
        name="momentum", learning_rate=0.1, schedule="cosine", warmup_epochs=2, weight_decay=5e-3, label_smoothing=0.1
    ),
    train=TrainConfig(epochs=20, batch_size=64, eval_epochs=2),
)
