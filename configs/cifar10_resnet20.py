"""ResNet-20 on CIFAR-10 as in He et al. 2015, section 4.2: batches of 128, crop and flip, rate 0.1 divided by 10 twice.

    python train.py --config cifar10_resnet20

182 epochs of 45,000 images (5,000 are held out for validation) are the paper's 64,000 steps (63,882), with the rate
divided at 31,941 and 47,912. The weight decay of 0.0001 is in the loss (`l2`), of kernels only.

Measured on a CPU of 2 cores: a step takes 0.41 s (`fcnn bench step`, 9 rounds), which makes 7 hours in all. Only
2 epochs were trained, with a whole schedule in them: 55.21 % (n = 1). The paper's accuracy is 91.25 %
(table 6), trained on all 50,000.
"""

from fcnn.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimConfig, TrainConfig

CONFIG = Config(
    data=DataConfig(name="cifar10"),
    augment=AugmentConfig(crop_padding=4, flip=True),
    model=ModelConfig(name="resnet20"),
    optim=OptimConfig(name="sgd", learning_rate=0.1, schedule="step", milestones=(0.5, 0.75), l2=1e-4),
    train=TrainConfig(epochs=182, batch_size=128, log_steps=100),
)
