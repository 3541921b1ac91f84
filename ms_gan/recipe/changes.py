"""A run that goes on with another value of a key: which keys may change, and what is recorded.

A change is `{key: [before, now]}`, as the manifest and the log of a run hold it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ms_gan.errors import UserError
from ms_gan.recipe import reader
from ms_gan.recipe.schema import Config, ConfigError

Change = dict[str, list[Any]]

# What neither the nets nor the data nor what a checkpoint holds depend on.
MAY_CHANGE = (
    "optimizer.", "loss", "terms", "regularizer", "augment", "train.ema_decay", "train.d_steps",
    "train.same_latents",
)  # fmt: skip
# What is given anew with every command and is no change of the recipe.
AS_BEFORE = (
    "train.steps", "train.epochs", "train.minutes", "train.on_divergence", "every.", "runtime.",
    "data.root", "data.pair.root",
)  # fmt: skip


def changed(
    config: Config, words: Iterable[str], resolve: Callable[[Config], Config]
) -> tuple[Config, Change]:
    """The recipe with `key.path=value` words, and what they changed.

    Args:
        resolve: fills up and checks what they may have left open.

    Raises:
        ConfigError: a key that a run cannot change, or a value that the key cannot have.
    """
    words = list(words)
    before = reader.to_dict(config)
    tree = reader.to_dict(config)
    for word in words:
        reader.apply_override(tree, word)
    new = resolve(reader.from_dict(tree))
    for difference in reader.differences(config, new):
        key = difference.partition(":")[0]
        if key.startswith(AS_BEFORE):
            raise ConfigError(f"--change {key}: no change of the recipe; give {key}=… by itself")
        if not may_change(key):
            raise ConfigError(
                f"--change {key}: a run keeps it, since its weights or its data depend on it; "
                "start another one with --from"
            )
    if (config.train.ema_decay > 0) != (new.train.ema_decay > 0):
        raise ConfigError(
            "--change train.ema_decay: a run with a moving average keeps it, and one without gets "
            "none; start another one with --from"
        )
    after = reader.to_dict(new)
    keys = dict.fromkeys(word.partition("=")[0] for word in words)
    pairs = {key: [plain(at(before, key)), plain(at(after, key))] for key in keys}
    return new, {key: [old, now] for key, (old, now) in pairs.items() if old != now}


def may_change(key: str) -> bool:
    """Whether a run can go on with another value of the key."""
    return key.startswith(MAY_CHANGE) and key != "optimizer.name"


def foreign(config: Config, tree: Any, resolve: Callable[[Config], Config]) -> list[str]:
    """What differs in another recipe that no run of this one can have changed; it has the form of
    :func:`ms_gan.recipe.reader.to_dict`. Of a recipe that cannot be read, nothing is known."""
    try:
        other = resolve(reader.from_dict(tree))
    except UserError:
        return []
    found = reader.differences(config, other, ignore=("name", *AS_BEFORE))
    return [line for line in found if not may_change(line.partition(":")[0])]


def repeated(
    config: Config, records: Sequence[Mapping[str, Any]], resolve: Callable[[Config], Config]
) -> tuple[Config, list[str]]:
    """The recipe as a run of it goes on, and a line for each change: what was changed is changed.

    A key that has another value than before the change stays what it is.

    Args:
        records: of the manifest, `{"step": k, "changed": Change}`, in their order.
    """
    tree, lines = reader.to_dict(config), []
    for record in records:
        for key, (old, now) in record["changed"].items():
            if plain(at(tree, key)) == old:
                put(tree, key, now)
                change = described({key: (old, now)})
                lines.append(f"this run was changed at step {record['step']}: {change}")
    return (resolve(reader.from_dict(tree)) if lines else config), lines


def is_record(found: Any) -> bool:
    """Whether an entry of a manifest is `{"step": k, "changed": Change}`."""
    change = found.get("changed") if isinstance(found, Mapping) else None
    return (
        isinstance(change, Mapping)
        and type(found.get("step")) is int
        and all(isinstance(pair, list) and len(pair) == 2 for pair in change.values())
    )


def told(value: Any) -> str:
    """A value of a change for people."""
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def described(change: Mapping[str, Sequence[Any]]) -> str:
    return "; ".join(f"{key}: {told(old)} -> {told(now)}" for key, (old, now) in change.items())


def plain(value: Any) -> Any:
    """As JSON gives it back."""
    return json.loads(json.dumps(value))


def at(tree: Mapping[str, Any], key: str) -> Any:
    """What stands at `a.b.c`; None where nothing does."""
    node: Any = tree
    for name in key.split("."):
        node = node.get(name) if isinstance(node, Mapping) else None
    return node


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for name in parents:
        if not isinstance(tree.get(name), dict):
            tree[name] = {}
        tree = tree[name]
    tree[last] = value
