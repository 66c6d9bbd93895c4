"""VGG-16 on ImageNet (ILSVRC 2012) as in Simonyan and Zisserman 2014, section 3.1: 74 epochs in batches of 256.

    python train.py --config vgg16_imagenet --workdir DIR

As in the paper: learning rate 0.01, divided by ten three times, momentum 0.9, weight decay 0.0005 in the loss, dropout,
370,000 steps. The paper drops it when the validation accuracy stops rising; here at 0.4, 0.7 and 0.9 of the run. The
initial weights are He's instead of those of a shallower trained network. 224-pixel crops of 256 become shifts by up to
16 pixels. Color augmentation is left out.

Never trained here: ImageNet was not available. The training step was only lowered for a TPU, not compiled or run. The
paper reports 73.0 % at this one scale (table 3, network D, 256 pixels, on whole images).
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
    model=ModelConfig(name="vgg16"),
    optim=OptimConfig(name="sgd", learning_rate=0.01, schedule="step", milestones=(0.4, 0.7, 0.9), l2=5e-4),
    train=TrainConfig(epochs=74, batch_size=256, eval_batch_size=2048, log_steps=500),
    precision="bfloat16",
)
