"""The front door: `python train.py --config resnet` is `fcnn train --config resnet`."""

import sys

from fcnn.cli import main

if __name__ == "__main__":
    raise SystemExit(main(["train", *sys.argv[1:]]))
