"""ResNet-50 on ImageNet by torchvision's recipe of 2021 ("IMAGENET1K_V2"): 600 epochs, for 8 TPU chips or GPUs.

    python train.py --config resnet50_v2_imagenet --workdir DIR

Cosine schedule from 0.5, batch size 1,024, TrivialAugment, random erasing, mixup and CutMix, label smoothing, no weight
decay on norms and biases, averaged weights, training at 176 pixels: pytorch.org/blog, "How to train state-of-the-art
models using TorchVision's latest primitives". Not implemented here: repeated augmentation (4x) and tests at 224 pixels.

Never trained here: ImageNet was not available. torchvision reports 80.858 % at 224 pixels.
"""

from fcnn.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimConfig, TrainConfig

CONFIG = Config(
    data=DataConfig(
        name="tfds:imagenet2012",
        image_size=176,
        val_fraction=0.01,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    ),
    augment=AugmentConfig(
        resized_crop=0.08, flip=True, auto_augment="trivial_augment", random_erasing=0.1, mixup=0.2, cutmix=1.0
    ),
    model=ModelConfig(name="resnet50", options={"zero_init": False}),
    optim=OptimConfig(name="sgd", learning_rate=0.5, warmup_epochs=5, l2=2e-5, label_smoothing=0.1),
    train=TrainConfig(epochs=600, batch_size=1024, eval_batch_size=1024, log_steps=100, ema_decay=0.9999),
    precision="bfloat16",
)
