"""`--model.options.NAME`: the architecture's own fields, with their types, on the command line and in presets."""

import pytest

from fcnn.cli.parse import parse
from fcnn.cli.train import TrainArgs
from fcnn.config import presets, serialize
from fcnn.utils.errors import UserError


def model(preset, *words):
    """The model's part of the config that words make of a preset."""
    config = presets.load_preset(preset)
    parsed = parse(TrainArgs, list(words), "fcnn train", default=TrainArgs(config=config, preset=preset)).config
    assert serialize.from_json(serialize.to_json(parsed), "here") == parsed
    return parsed.model


@pytest.mark.parametrize(
    ("preset", "words", "options"),
    [
        ("resnet", "--model.options.shortcut=projection --train.epochs 2", {"shortcut": "projection"}),
        ("resnet", "--model.options.no-zero-init", {"zero_init": False}),
        ("resnet", "--model.options.hidden 3 4 --model.name mlp", {"hidden": (3, 4)}),
        ("resnet", "--model.name mlp --model.options.hidden", {"hidden": ()}),
        ("transfer_head", "--seed 3", {"linear_head": True}),
        ("transfer_head", "--model.options.no-linear-head", {"linear_head": False}),
        ("transfer_head", "--model.name squeezenet1_1", {"linear_head": True}),
        ("transfer_head", "--model.name resnet18", {}),  # which has no such option
    ],
)
def test_options_have_the_types_of_the_architectures_fields(preset, words, options):
    assert model(preset, *words.split()).options == options


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--model.options.shortcut diagonal", "projection"),
        ("--model.name mlp --model.options.hidden 3.5", "--model.options.hidden"),
        ("--model.name mlp --model.options.hiden 3", "unknown option of mlp 'hiden'; did you mean hidden?"),
        ("--model.name linear --model.options.hidden 3", "linear has no options of its own"),
        ("--model.options shortcut projection", "--model.options needs the name of an option"),
    ],
)
def test_what_the_architecture_has_not_is_refused(words, message):
    with pytest.raises(UserError, match=message):
        model("resnet", *words.split())


def test_the_words_that_make_a_config_say_its_options():
    before, after = presets.load_preset("folder"), presets.load_preset("transfer_head")
    words = serialize.options(before, after)
    assert "--model.options.linear-head" in words
    parsed = parse(TrainArgs, words, "fcnn train", default=TrainArgs(config=before, preset="folder"))
    assert parsed.config == after


def test_help_lists_the_options_of_the_chosen_architecture(capsys):
    with pytest.raises(SystemExit):
        model("resnet", "--model.name", "vgg11", "--model.options.hidden", "8", "--help-all")
    text = " ".join(capsys.readouterr().out.split())
    assert "--model.options.hidden" in text
    assert "(default: 8)" in text
    assert "--model.options.zero-init" not in text
