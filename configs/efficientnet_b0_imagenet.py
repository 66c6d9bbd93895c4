"""EfficientNet-B0 on ImageNet as in its paper, in batches of 4,096: 350 epochs, for 16 TPU chips or GPUs.

    python train.py --config efficientnet_b0_imagenet --workdir DIR

Tan & Le 2019, arXiv:1905.11946, section 5.2: RMSProp with decay and momentum 0.9, a learning rate of 0.256 that falls
by 3 % every 2.4 epochs (smoothly here), weight decay 0.00001 in the loss, AutoAugment, dropout 0.2, stochastic depth
0.2. The warm-up of 5 epochs, label smoothing 0.1, RMSProp's epsilon of 0.001 and the averaged weights are those of the
authors' code.

Never trained here: ImageNet was not available. The paper reports 77.1 % (table 2).
"""

from fcnn.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimConfig, TrainConfig

EPOCHS = 350

CONFIG = Config(
    data=DataConfig(
        name="tfds:imagenet2012",
        image_size=224,
        val_fraction=0.01,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    ),
    augment=AugmentConfig(resized_crop=0.08, flip=True, auto_augment="auto_augment"),
    model=ModelConfig(name="efficientnet_b0", dropout=0.2, options={"stochastic_depth": 0.2}),
    optim=OptimConfig(
        name="rmsprop",
        learning_rate=0.256,
        beta2=0.9,
        momentum=0.9,
        epsilon=1e-3,
        schedule="exponential",
        end_lr_factor=0.97 ** (EPOCHS / 2.4),
        warmup_epochs=5,
        l2=1e-5,
        label_smoothing=0.1,
    ),
    train=TrainConfig(epochs=EPOCHS, batch_size=4096, eval_batch_size=4096, log_steps=100, ema_decay=0.9999),
    precision="bfloat16",
)
