"""GoogLeNet with batch norm on ImageNet (ILSVRC 2012), 90 epochs in batches of 1,024, with both auxiliary heads.

    python train.py --config googlenet_imagenet --workdir DIR

From Szegedy et al. 2014, section 6, are momentum 0.9, crops of 8 to 100 % of the area, and the heads' weight of 0.3.
It doesn't give batch size and learning rate; these follow Goyal et al. 2017, "Accurate, large minibatch SGD": learning
rate 0.1 per 256 images, 5 epochs of warm-up, weight decay 0.0001 in the loss; the schedule is a cosine. Color jitter
replaces the paper's color augmentation.

Never trained here: ImageNet was not available. The training step was only lowered for a TPU, not compiled or run. The
paper reports 89.9 % top-5 accuracy for one network and one crop (table 3), without batch norm.
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
    augment=AugmentConfig(resized_crop=0.08, flip=True, brightness=0.3, contrast=0.3, saturation=0.3),
    model=ModelConfig(name="googlenet"),
    optim=OptimConfig(name="sgd", learning_rate=0.4, schedule="cosine", warmup_epochs=5, l2=1e-4),
    train=TrainConfig(epochs=90, batch_size=1024, eval_batch_size=2048, log_steps=200),
    precision="bfloat16",
)
