"""ResNet-50 on ImageNet by recipe A2 of "ResNet strikes back": 300 epochs, for 8 TPU chips or GPUs.

    python train.py --config resnet50_a2_imagenet --workdir DIR

Wightman, Touvron & Jegou 2021, arXiv:2110.00476, table 2: LAMB, binary cross-entropy, mixup and CutMix, RandAugment at
magnitude 7 of 10, which is 21 of 30 here. Not implemented here: repeated augmentation (3x), random magnitudes (mstd
0.5), targets binarized at 0.2 (BCE), and a test crop ratio of 0.95.

Never trained here: ImageNet was not available. The paper reports 79.8 % (table 1), tested at 224 pixels.
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
        resized_crop=0.08, flip=True, auto_augment="rand_augment", magnitude=21, mixup=0.1, cutmix=1.0
    ),
    model=ModelConfig(name="resnet50", options={"stochastic_depth": 0.05}),
    optim=OptimConfig(
        name="lamb", learning_rate=0.005, warmup_epochs=5, weight_decay=0.02, loss="binary_cross_entropy"
    ),
    train=TrainConfig(epochs=300, batch_size=2048, eval_batch_size=2048, log_steps=100),
    precision="bfloat16",
)
