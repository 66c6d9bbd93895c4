"""x"""

from fcnn.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimConfig, TrainConfig

CONFIG = Config(
    data=DataConfig(name="mnist", validation=0.05),
    augment=AugmentConfig(crop_padding=2, rotation=10, zoom=1.1),
    model=ModelConfig(name="lenet5", activation="relu"),
    optim=OptimConfig(name="adamw", learning_rate=4e-3, schedule="one_cycle", weight_decay=1e-2),
    train=TrainConfig(epochs=12, batch_size=128, eval_epochs=2),
)
