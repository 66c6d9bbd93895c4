"""ConvNeXt-T on ImageNet as in its paper, in batches of 4,096: 300 epochs, for 16 TPU chips or GPUs.

    python train.py --config convnext_tiny_imagenet --workdir DIR

Liu et al. 2022, arXiv:2201.03545, table 5: AdamW at 0.004 with weight decay 0.05, warm-up of 20 epochs, cosine
schedule, RandAugment at magnitude 9 of 10, which is 27 of 30 here, random erasing, mixup and CutMix, stochastic depth
0.1, averaged weights.

Never trained here: ImageNet was not available. The paper reports 82.1 % (table 1).
"""

from fcnn.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimConfig, TrainConfig

CONFIG = Config(
    data=DataConfig(
        name="tfds:imagenet2012",
        image_size=224,
        val_fraction=0.01,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    ),
    augment=AugmentConfig(
        resized_crop=0.08,
        flip=True,
        auto_augment="rand_augment",
        magnitude=27,
        random_erasing=0.25,
        mixup=0.8,
        cutmix=1.0,
    ),
    model=ModelConfig(name="convnext_tiny", options={"stochastic_depth": 0.1}),
    optim=OptimConfig(name="adamw", learning_rate=4e-3, warmup_epochs=20, weight_decay=0.05, label_smoothing=0.1),
    train=TrainConfig(epochs=300, batch_size=4096, eval_batch_size=4096, log_steps=100, ema_decay=0.9999),
    precision="bfloat16",
)
