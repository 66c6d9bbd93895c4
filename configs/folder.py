"""x"""

from fcnn.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimConfig, TrainConfig

CONFIG = Config(
    data=DataConfig(name="folder:images", image_size=64),
    augment=AugmentConfig(resized_crop=0.35, flip=True, brightness=0.3, contrast=0.3, saturation=0.3),
    model=ModelConfig(name="resnet18", width=0.5),
    optim=OptimConfig(
        name="momentum", learning_rate=0.05, schedule="cosine", warmup_epochs=1, weight_decay=1e-2, label_smoothing=0.1
    ),
    train=TrainConfig(epochs=15, batch_size=64, log_steps=20),
)
