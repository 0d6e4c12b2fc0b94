import pytest

from segnet.components import build, did_you_mean, forwards_to
from segnet.errors import ConfigError


class Net:
    def __init__(self, depth, width=64, *, channels):
        self.options = (depth, width, channels)


class Other:
    def __init__(self):
        self.options = ()


TABLE = {"net": Net, "other": Other}


def test_build_passes_the_options_of_the_spec_and_the_context_to_the_named_class():
    spec = {"name": "net", "depth": 3}
    built = build("backbone", TABLE, spec, channels=7)
    assert isinstance(built, Net)
    assert built.options == (3, 64, 7)
    assert spec == {"name": "net", "depth": 3}
    assert isinstance(build("backbone", TABLE, {"name": "other"}), Other)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"name": "nte"}, ["backbone.name=nte", "Did you mean 'net'?", "net, other"]),
        ({"name": "zzzzzz"}, ["backbone.name=zzzzzz", "Choose from: net, other"]),
        ({}, ["backbone.name=None"]),
        ({"name": 5}, ["backbone.name=5"]),
        ({"name": ["net"]}, ["backbone.name=['net']"]),
        ({"name": "net", "depth": 1, "widht": 2}, ["backbone.widht", "'net'", "Did you mean 'width'?"]),
        ({"name": "other", "depth": 1}, ["backbone.depth", "'other'"]),
        ({"name": "net"}, ["backbone.depth is not set", "backbone.depth=..."]),
        ({"name": "net", "depth": None}, ["backbone.depth is not set"]),
        ({"name": "net", "depth": 1, "channels": 9}, ["backbone.channels is not an option"]),
    ],
)
def test_build_names_the_option_that_is_wrong_and_the_choices(spec, words):
    with pytest.raises(ConfigError) as error:
        build("backbone", TABLE, spec, channels=7) if spec.get("name") != "other" else build("backbone", TABLE, spec)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("names", "option", "hint"),
    [
        (["net"], "widht", "; backbone 'net' has 'width': remove it with ~backbone."),
        (["net"], "width", "; backbone 'net' has 'width': remove it with ~backbone."),
        (["net", "net2"], "width", "; backbone 'net' and 'net2' have 'width': remove it"),
        (["net", "net2", "net3"], "width", "; backbone 'net' and 2 others have 'width': remove it"),
        (["net"], "channels", "backbone 'other'. It has no options."),  # the program's, not an option
        (["net"], "zzzz", "backbone 'other'. It has no options."),
    ],
)
def test_an_option_of_another_component_names_its_owner(names, option, hint):
    table = {"other": Other, **dict.fromkeys(names, Net)}
    with pytest.raises(ConfigError) as error:
        build("backbone", table, {"name": "other", option: 1}, channels=7)
    assert hint in str(error.value)


def test_a_component_without_options_is_named_so():
    with pytest.raises(ConfigError, match=r"has 'width': remove it with ~backbone\.width\. It has no options\.$"):
        build("backbone", {"bare": lambda channels: None, "net": Net}, {"name": "bare", "width": 1}, channels=7)


def test_did_you_mean_ignores_distant_words_and_sorts_choices():
    assert did_you_mean("qqqq", ["b", "a"]) == " Choose from: a, b."
    assert did_you_mean("resnet5", ["resnet50", "vgg"]) == " Did you mean 'resnet50'? Choose from: resnet50, vgg."


def test_a_forwarding_function_accepts_the_options_of_its_target():
    @forwards_to(Net, without=["channels"])
    def wide(times=2, **options):
        return Net(options["depth"], times * options.get("width", 1), channels=1)

    assert build("backbone", {"wide": wide}, {"name": "wide", "depth": 3, "width": 5}).options == (3, 10, 1)
    for key in ("channels", "options", "wdth"):
        with pytest.raises(
            ConfigError, match=rf"backbone\.{key} is not an option of .* Choose from: depth, times, width"
        ):
            build("backbone", {"wide": wide}, {"name": "wide", "depth": 3, key: 1})
    with pytest.raises(ConfigError, match=r"backbone\.depth is not set"):
        build("backbone", {"wide": wide}, {"name": "wide"})
