"""Tables of named parts: a constructor's signature is the schema of its options."""

import pytest

from ms_gan.recipe.registry import Registry, options_of
from ms_gan.recipe.schema import Config, ConfigError, Part, Ramp
from tests import tiny


def hinge(*, margin: float = 1.0, sides: int = 2, soft: bool = False, widths: tuple = (4, 8)):
    if margin <= 0:
        raise ValueError("margin: expected > 0,\n  ------\n  got something else")
    return ("hinge", margin, sides, soft, widths)


def plain(first, *, shape, anything=None):
    return ("plain", first, shape, anything)


LOSS = Registry("loss", {"hinge": hinge, "plain": plain})


def refused(function, *args, **kwargs):
    return tiny.refused(ConfigError, function, *args, **kwargs)


def test_builds_with_defaults_and_options():
    assert LOSS.build(Part("hinge")) == ("hinge", 1.0, 2, False, (4, 8))
    part = Part("hinge", {"margin": 2, "widths": [1, 2, 3], "soft": True})
    assert LOSS.build(part) == ("hinge", 2, 2, True, [1, 2, 3])
    assert list(LOSS) == ["hinge", "plain"]


def test_passes_on_what_the_factory_knows_of_the_given():
    assert LOSS.build(Part("plain"), 1, shape=(2,), unknown=3) == ("plain", 1, (2,), None)


def test_unknown_name_and_near_miss():
    message = refused(LOSS.build, Part("hinje"))
    assert message == (
        "loss.name: no loss called 'hinje'; known: hinge, plain (did you mean 'hinge'?)"
    )
    assert "did you mean" not in refused(LOSS.build, Part("zzz"))


def test_unknown_option_lists_the_valid_ones():
    message = refused(LOSS.build, Part("hinge", {"margn": 1.0}))
    assert message == (
        "loss.margn: 'hinge' has no such option; it has: margin, sides, soft, widths"
        " (did you mean 'margin'?)"
    )
    assert "it has: none" in refused(Registry("x", {"f": lambda: 1}).build, Part("f", {"a": 1}))


def test_what_the_program_gives_is_no_option():
    message = refused(LOSS.build, Part("plain", {"shape": [1]}), 1, shape=(2,))
    assert message.startswith("loss.shape: 'plain' has no such option; it has: anything")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": "wide"}, "loss.margin: expected float, got 'wide'"),
        ({"margin": True}, "loss.margin: expected float, got True"),
        ({"margin": None}, "loss.margin: expected float, got None"),
        ({"sides": 2.0}, "loss.sides: expected int, got 2.0"),
        ({"sides": True}, "loss.sides: expected int, got True"),
        ({"soft": 1}, "loss.soft: expected bool, got 1"),
        ({"widths": 3}, "loss.widths: expected list, got 3"),
        ({"widths": {"a": 1}}, "loss.widths: expected list, got {'a': 1}"),
        ({"widths": [4, "b"]}, "loss.widths[1]: expected int, got 'b'"),
        ({"widths": [2.5]}, "loss.widths[0]: expected int, got 2.5"),
    ],
)
def test_options_of_a_wrong_type(options, message):
    assert refused(LOSS.build, Part("hinge", options)) == message


def test_an_option_without_a_typed_default_takes_anything():
    for value in (1, "a", [2]):
        assert LOSS.build(Part("plain", {"anything": value}), 0, shape=1)[-1] == value


def test_what_the_factory_refuses_is_one_line():
    message = refused(LOSS.build, Part("hinge", {"margin": -1.0}))
    assert message == "loss: 'hinge': margin: expected > 0, ------ got something else"


def test_options_are_the_keyword_only_parameters():
    assert list(options_of(plain)) == ["shape", "anything"]


@pytest.mark.parametrize(
    ("options", "start"),
    [
        ({"g_width": [8]}, "model.g_width: 'gan' has no such option"),
        ({"image_shape": [1, 2, 3]}, "model.image_shape: 'gan' has no such option"),
        ({"latent_dim": 10.0}, "model.latent_dim: expected int, got 10.0"),
        ({"latent_dim": 0}, "model: 'gan': "),
        ({"g_widths": ["a"]}, "model.g_widths[0]: expected int, got 'a'"),
    ],
)
def test_the_real_models(options, start):
    from ms_gan import build

    config = Config("t", model=Part("gan", options))
    message = refused(build.build_net, config, "generator", (1, 8, 8), 0)
    assert message.startswith(start)


# --- weights ------------------------------------------------------------------------------------


class Heavy:
    weight = 10.0

    def __init__(self, *, power: float = 2.0):
        self.power = power


WEIGHTED = Registry("part", {"heavy": Heavy, "plain": hinge}, weight=1.0)


def test_a_weight_is_taken_apart():
    """Of the row, of the table, or of the recipe; what is left builds the part."""
    assert WEIGHTED.split(Part("heavy")) == (Part("heavy"), 10.0)
    assert WEIGHTED.split(Part("plain")) == (Part("plain"), 1.0)
    part, weight = WEIGHTED.split(Part("heavy", {"power": 3.0, "weight": 2}))
    assert (part, weight) == (Part("heavy", {"power": 3.0}), 2)
    assert WEIGHTED.build(part).power == 3.0
    ramp = Ramp(5.0, 0.0, 100)
    assert WEIGHTED.split(Part("heavy", {"weight": ramp})) == (Part("heavy"), ramp)
    assert LOSS.split(Part("hinge")) == (Part("hinge"), None)


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (WEIGHTED, {"weight": -1.0}, "part.weight: -1.0 is negative"),
        (WEIGHTED, {"weight": Ramp(1.0, -1.0, 5)}, "part.weight: -1.0 is negative"),
        (WEIGHTED, {"weight": "heavy"}, "part.weight: expected float"),
        (WEIGHTED, {"wieght": 1.0}, "part.wieght: 'plain' has no such option"),
        (LOSS, {"weight": 1.0}, "loss.weight: 'plain' has no such option"),
    ],
)
def test_weights_that_are_refused(table, options, message):
    assert refused(table.split, Part("plain", options)).startswith(message)


def test_a_ramp_is_a_weight_and_nothing_else():
    message = refused(WEIGHTED.split, Part("heavy", {"power": Ramp(1.0, 0.0, 5)}))
    assert message.startswith("part.power: expected float, got Ramp")


# --- sections with options of their rows ----------------------------------------------------------


def fast(*, pace: float = 0.9, given: int = 0):
    pass


def slow(*, rest: float = 0.5, given: int = 0):
    pass


PACE = Registry("pace", {"fast": fast, "slow": slow})


def test_all_options_of_the_row_are_written_down():
    resolved = PACE.resolve(Part("fast", {"pace": 0.8}), ("given",))
    assert resolved == Part("fast", {"pace": 0.8})
    assert PACE.resolve(Part("slow"), ("given",)).options == {"rest": 0.5}
    assert PACE.resolve(Part("slow")).options == {"rest": 0.5, "given": 0}
    assert PACE.resolve(resolved, ("given",)) == resolved


def test_an_option_of_another_row_is_refused_unless_it_says_nothing():
    """Recipes that were written down by 0.1 hold the options of all rows, with their defaults."""
    assert PACE.resolve(Part("fast", {"rest": 0.5}), ("given",)).options == {"pace": 0.9}
    message = refused(PACE.resolve, Part("fast", {"rest": 0.4}), ("given",))
    assert message.startswith("pace.rest: 'fast' has no such option; it has: pace")
    for value in (0, 1):
        message = refused(PACE.resolve, Part("fast", {"given": value}), ("given",))
        assert message.startswith("pace.given: 'fast' has no such option")
