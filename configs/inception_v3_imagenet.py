"""Inception v3 on ImageNet (ILSVRC 2012) at 299 x 299 pixels with RMSProp, as in Szegedy et al. 2015, section 8.

    python train.py --config inception_v3_imagenet --workdir DIR

As in the paper: RMSProp with decay 0.9 and epsilon 1, learning rate 0.045 times 0.94 every two epochs, gradients
clipped at 2, label smoothing 0.1 (section 7), 100 epochs. There 50 replicas with batches of 32 updated the weights
asynchronously; here one batch of 1,024 does, with momentum 0.9 and 5 epochs of warm-up. The weight decay of 0.00004 is
that of the authors' program.

Never trained here: ImageNet was not available. The training step was only lowered for a TPU, not compiled or run. The
paper reports 78.8 % on one crop (table 3; 21.2 % error).
"""

from fcnn.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimConfig, TrainConfig

CONFIG = Config(
    data=DataConfig(
        name="tfds:imagenet2012", image_size=299, val_fraction=0.01,
        mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    ),
    augment=AugmentConfig(resized_crop=0.08, flip=True, brightness=0.125, saturation=0.5),
    model=ModelConfig(name="inception_v3"),
    optim=OptimConfig(
        name="rmsprop", learning_rate=0.045, beta2=0.9, momentum=0.9, epsilon=1.0, schedule="exponential",
        end_lr_factor=0.94**50, warmup_epochs=5, clip_norm=2.0, l2=4e-5, label_smoothing=0.1,
    ),
    train=TrainConfig(epochs=100, batch_size=1024, eval_batch_size=2048, log_steps=200),
    precision="bfloat16",
)  # fmt: skip
