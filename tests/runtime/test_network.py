"""No command asks the network for anything unless weights or data are to be downloaded, nor starts a shell."""

import subprocess

from harness import start
from PIL import Image

# Ends the process at the first attempt, before it is made. Sockets with a path are inside of this machine.
WATCHED = """
import os, sys

def refuse(event, args):
    asked = event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "os.system")
    connects = event == "socket.connect" and isinstance(args[1], tuple)
    shell = event == "subprocess.Popen" and os.fspath(args[0]).endswith("sh")
    if asked or connects or shell:
        os.write(2, f"{event} {args}".encode())
        os._exit(77)

sys.addaudithook(refuse)
from fcnn import cli
for line in sys.stdin.read().splitlines():
    if code := cli.main(line.split("|")):
        sys.exit(f"{line}: {code}")
"""
COMMANDS = """\
train|--config|resnet|--model.name|mlp|--train.epochs|1|--workdir|run
evaluate|run
predict|run|digit.png
export|run
export|run|--format|stablehlo
convert|run/model.safetensors|--out|again.safetensors
predict|efficientnet_lite0|digit.png
"""


def watched(lines, folder):
    with start("-c", WATCHED, cwd=folder, stdin=subprocess.PIPE) as process:
        out, err = process.communicate(lines, timeout=300)
    return process.returncode, out, err


def test_no_command_opens_a_connection_or_starts_a_shell(tmp_path):
    Image.new("L", (8, 8), 99).save(tmp_path / "digit.png")
    code, _, err = watched(COMMANDS, tmp_path)
    assert code == 0, err


def test_a_download_that_is_asked_for_is_seen(tmp_path):
    code, _, err = watched("predict|resnet18|digit.png\n", tmp_path)
    assert code == 77
    assert "download.pytorch.org" in err
