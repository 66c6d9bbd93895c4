"""ResNet-50 on ImageNet (ILSVRC 2012) in batches of 2,048, 90 epochs in bfloat16: for 8 TPU chips or GPUs, 256 on each.

    python train.py --config resnet50_imagenet --workdir DIR

The recipe is Goyal et al. 2017, "Accurate, large minibatch SGD": a rate of 0.1 for each 256 images of a batch, reached
over 5 epochs, momentum 0.9, weight decay 0.0001 in the loss, and each block's last scale starting at 0. From He et al.
2018, "Bag of tricks", are the cosine instead of steps and labels smoothed by 0.1. For another batch scale the rate with
it: --train.batch-size 1024 --optim.learning-rate 0.4; the paper goes up to 8,192.

Nothing has been measured: ImageNet was not available. The step has only been compiled for a TPU (TPU.md). The
first paper has 76.3 % at a batch of 8,192 (table 1).
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
