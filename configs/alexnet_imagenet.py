"""AlexNet on ImageNet (ILSVRC 2012) as in Krizhevsky et al. 2012, section 5: SGD with momentum in batches of 128.

    python train.py --config alexnet_imagenet --workdir DIR

As in the paper: learning rate 0.01, divided by ten three times, momentum 0.9, weight decay 0.0005 in the loss, dropout,
roughly 90 epochs. The paper drops it when the validation error stops falling; here at 0.3, 0.6 and 0.9 of the run.
224-pixel crops of 256 become shifts by up to 16 pixels. Color augmentation along principal components is left out.

Never trained here: ImageNet was not available. The training step was only lowered for a TPU, not compiled or run. The
paper reports 59.3 % for one network (table 2, on ten crops of each image; here on one).
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
    augment=AugmentConfig(crop_padding=16, flip=True),
    model=ModelConfig(name="alexnet_2012"),
    optim=OptimConfig(name="sgd", learning_rate=0.01, schedule="step", milestones=(0.3, 0.6, 0.9), l2=5e-4),
    train=TrainConfig(epochs=90, batch_size=128, eval_batch_size=2048, log_steps=1000),
    precision="bfloat16",
)
