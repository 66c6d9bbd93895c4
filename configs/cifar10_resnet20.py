"""x"""

from fcnn.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimConfig, TrainConfig

CONFIG = Config(
    data=DataConfig(name="cifar10"),
    augment=AugmentConfig(crop_padding=4, flip=True),
    model=ModelConfig(name="resnet20"),
    optim=OptimConfig(name="momentum", learning_rate=0.1, schedule="step", milestones=(0.5, 0.75), l2=1e-4),
    train=TrainConfig(epochs=182, batch_size=128, log_steps=100),
)
