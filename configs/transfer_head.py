"""A new head on an ImageNet-pretrained SqueezeNet 1.0, for photographs of your own: seconds to a minute.

    python train.py --config transfer_head --data.name folder:PATH

Without --data.name the images are looked for in ./images. The features of each image are computed once; then the head,
a logistic regression with dropout, is trained for 100 epochs in seconds. Use it alone, or as the starting point of
transfer_full, which is more accurate. The weights are downloaded once, unless --transfer.weights names a file. Results
for five kinds of flowers are in docs/transfer.md.
"""

from fcnn.config import Config, DataConfig, ModelConfig, OptimConfig, TrainConfig, TransferConfig

CONFIG = Config(
    data=DataConfig(name="folder:images", image_size=128),
    model=ModelConfig(name="squeezenet1_0", options={"linear_head": True}),
    optim=OptimConfig(name="adam", learning_rate=1e-3, schedule="cosine"),
    train=TrainConfig(epochs=100, batch_size=64, eval_epochs=10),
    transfer=TransferConfig(weights="squeezenet1_0", strategy="head"),
)
