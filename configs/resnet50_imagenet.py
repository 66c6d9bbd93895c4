"""ResNet-50 on ImageNet (ILSVRC 2012), 90 epochs in batches of 2,048: 256 images on each of 8 TPU chips or GPUs.

    python train.py --config resnet50_imagenet --workdir DIR

The recipe is Goyal et al. 2017, "Accurate, large minibatch SGD", in bfloat16: learning rate 0.1 per 256 images, 5
epochs of warm-up, momentum 0.9, weight decay 0.0001 in the loss, and a zero-initialized last batch-norm scale in each
block. He et al. 2018, "Bag of tricks", add the cosine schedule and label smoothing 0.1. Scale the learning rate with
the batch size: --train.batch-size 1024 --optim.learning-rate 0.4; the paper goes up to 8,192.

Never trained here: ImageNet was not available. The training step was only compiled for a TPU (TPU.md). The first paper
reports 76.3 % at a batch size of 8,192 (table 1).
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
    augment=AugmentConfig(resized_crop=0.08, flip=True),
    model=ModelConfig(name="resnet50"),
    optim=OptimConfig(name="sgd", learning_rate=0.8, schedule="cosine", warmup_epochs=5, l2=1e-4, label_smoothing=0.1),
    train=TrainConfig(epochs=90, batch_size=2048, eval_batch_size=2048, log_steps=100),
    precision="bfloat16",
)
