"""All layers are trained, from the network with a new head that transfer_head left in runs/transfer_head-001.

    python train.py --config transfer_full --data.name folder:PATH

A random head distorts the pretrained features before it has learned anything; one that was trained on the frozen
network doesn't (Kumar et al. 2022, arXiv:2202.10054, section 4). So all layers have the same low rate. Few images need
more epochs in smaller batches: for 500, --train.epochs 12 --train.batch-size 20. Results for five kinds of flowers, and
how the rate was chosen, are in docs/transfer.md.
"""

from fcnn.config import AugmentConfig, Config, DataConfig, ModelConfig, OptimConfig, TrainConfig, TransferConfig

CONFIG = Config(
    data=DataConfig(name="folder:images", image_size=128),
    augment=AugmentConfig(flip=True),
    model=ModelConfig(name="squeezenet1_0", options={"linear_head": True}),
    optim=OptimConfig(name="adam", learning_rate=1e-4, schedule="cosine"),
    train=TrainConfig(epochs=6, batch_size=32),
    transfer=TransferConfig(weights="runs/transfer_head-001", strategy="full", backbone_lr_scale=1.0),
)
