"""Networks of timm's on the Hugging Face hub, by their names there: timm/resnet50.a1_in1k."""

import re
from pathlib import Path

from fcnn.utils.download import sha256
from fcnn.utils.errors import UserError, install

SCHEME = "hf-hub:"
"""May stand before a name, as in timm, whoever published the network."""


def is_on_hub(source: str) -> bool:
    """Whether a name is one on the hub: timm/NAME, or hf-hub:OWNER/NAME."""
    return re.fullmatch(rf"timm/[\w.-]+|{SCHEME}[\w.-]+/[\w.-]+(@\w+)?", source) is not None


def obtain_from_hub(source: str) -> Path:
    """Returns the file of a network's weights, `config.json` beside it, downloaded unless they are in the hub's cache
    (~/.cache/huggingface, or $HF_HOME).

    Raises:
      UserError: they can't be downloaded, or the weights are not those that were published.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import EntryNotFoundError
    except ImportError:
        raise UserError(f"{source} is on the Hugging Face hub: {install('hub')}") from None
    name, _, revision = source.removeprefix(SCHEME).partition("@")
    try:
        hf_hub_download(name, "config.json", revision=revision or None)
        path = Path(hf_hub_download(name, "model.safetensors", revision=revision or None))
    except (OSError, ValueError, EntryNotFoundError) as error:
        raise UserError(f"{source} can't be downloaded from the hub: {str(error).splitlines()[0]}") from None
    digest = path.resolve().name  # the cache calls a large file by its SHA-256
    if re.fullmatch(r"[0-9a-f]{64}", digest) and sha256(path) != digest:
        raise UserError(f"{path} is not the published {source}: its SHA-256 is another; remove {path.resolve()}")
    return path
