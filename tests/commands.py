"""Command lines of the documents: whether each is right, by what would read it, without running it.

A command that nothing here knows is an error too, so that none goes unchecked.
"""

import argparse
import ast
import copy
import importlib.util
import re
import runpy
import shlex
import sys
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

from ms_gan import cli
from ms_gan.recipe import reader
from tests.tiny import ROOT

VERBS = (
    "train", "distribute-train", "generate", "apply", "evaluate", "report", "compare",
    "train-classifier", "export", "explore", "keys", "completion", "doctor",
)  # fmt: skip
PLACEHOLDER = re.compile(r"…|\b(NAME|OTHER|COMMAND)\b|=N\b")  # in a command that shows a form
SHELL = ("rm", "sed", "source", "cd", "for", "done", "ruff", "tensorboard", "npm", "apt-get")
MODULES = {"run_benchmark": "benchmarks.run", "run_versions": "benchmarks.versions"}  # of a script


def split(line):
    """The words of each command of a line of a shell, without comments, variables, redirections."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    found = [[]]
    for word in lexer:
        if set(word) <= set(";&|"):
            found.append([])
        else:
            found[-1].append(word)
    for words in found:
        if ">" in words:
            words = words[: words.index(">")]
        while words and (words[0] == "do" or re.fullmatch(r"[A-Z_]+=.*", words[0])):
            words = words[1:]
        if words:
            yield words


def of_the_package(words):
    """The words after `ms-gan` of a command in any of its forms; None: it is another command."""
    if words[0] == "bash":
        script = Path(words[1])
        assert (ROOT / script).is_file(), words
        verb = script.stem.removeprefix("run_").replace("_", "-")
        if script.stem == "ms_gan":
            return words[2:]
        return [verb, *words[2:]] if verb in VERBS else None
    if words[:3] == ["python", "-m", "ms_gan"]:
        return words[3:]
    return words[1:] if words[0] == "ms-gan" else None


def check(words, own=(), made=()):
    """Raise what is wrong with a command; its recipe, if it trains one.

    Args:
        own: name -> tree of recipes that the page tells to write.
        made: files that it tells to write.
    """
    if words[:2] == ["taskset", "-c"]:  # on some cores
        words = words[3:]
    package = of_the_package(words)
    if package is None:
        return check_other(words, made)
    if package in ([], ["--help"]):
        return None
    assert package[0] in VERBS, words
    arguments = cli.parse(package)
    if package[0] == "train-classifier":
        from ms_gan.cli.evaluate import options_given

        options_given(arguments)
    if package[0] not in ("train", "distribute-train"):
        return None
    if arguments.config.stem not in own:
        return reader.load(reader.find(arguments.config), arguments.overrides)
    tree = copy.deepcopy(own[arguments.config.stem])
    for override in arguments.overrides:
        reader.apply_override(tree, override)
    return reader.from_dict(tree)


def check_other(words, made):
    """The same of a command of another program."""
    program, *rest = words
    if program == "bash":
        script = Path(rest[0])
        if script.stem == "run_experiment" and rest[1:]:
            experiment = ROOT / "scripts" / f"{rest[1]}.py"
            assert experiment.is_file(), words
            if rest[2:]:
                parse_only(experiment, rest[2:])
        elif script.stem == "run_tests":
            files = [word for word in rest[1:] if word.endswith(".py") and word not in made]
            assert all((ROOT / file).is_file() for file in files), words
        elif script.stem in MODULES:
            parse_only(MODULES[script.stem], rest[1:])
        else:
            assert script.stem == "run_experiment", f"nobody checks {words}"
    elif program == "python" and rest[0] == "-m" and rest[1] != "pip":
        assert importlib.util.find_spec(rest[1]), words
        parse_only(rest[1], rest[2:])
    elif program == "python" and rest[0] == "-c":
        ast.parse(rest[1])
    elif program == "python" and rest[0] != "-m":
        assert (ROOT / rest[0]).is_file(), words
    elif program == "eval":
        for inner in re.findall(r"\$\((.+?)\)", rest[0]):
            check(shlex.split(inner))
    elif program == "pip" or rest[:2] == ["-m", "pip"]:
        for file in re.findall(r"-r (\S+)", " ".join(rest)):
            assert (ROOT / file).is_file(), words
    else:
        assert program in SHELL, f"nobody checks {words}"


class Parsed(BaseException):
    """What a program was given could be read."""


def parse_only(program, words):
    """Run a module or a file until it has read its arguments."""
    with stopped() as stop, mock.patch.object(sys, "argv", [str(program), *words]):
        try:
            if isinstance(program, Path):
                runpy.run_path(str(program), run_name="__main__")
            else:
                with warnings.catch_warnings():  # of another test it may be imported already
                    warnings.filterwarnings("ignore", "'.*' found in sys.modules", RuntimeWarning)
                    runpy.run_module(program, run_name="__main__")
        except Parsed:
            return
        except SystemExit as error:
            raise AssertionError(f"{program} does not take {words}: {stop.said}") from error
    assert not words, f"{program} reads no arguments, but gets {words}"


@contextmanager
def stopped():
    """argparse ends every program once it has read the arguments."""

    class Stop:
        said = ""

    def ending(parse):
        def function(self, *args, **kwargs):
            parse(self, *args, **kwargs)
            raise Parsed

        return function

    def error(self, message):
        Stop.said = message
        raise SystemExit(2)

    parser = argparse.ArgumentParser
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(parser, "error", error))
        for name in ("parse_args", "parse_intermixed_args"):
            ended = ending(getattr(parser, name))
            stack.enter_context(mock.patch.object(parser, name, ended))
        yield Stop
