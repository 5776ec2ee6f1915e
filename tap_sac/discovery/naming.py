"""Stream names, which are unique whatever the order of SAC's lists, and globs of them."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, TypeVar

from tap_sac.safety.text import did_you_mean, folded, log_safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tap_sac.sac.odata.model import Provider

PROVIDERS_STREAM_NAME = "providers"

_Named = TypeVar("_Named")
# How many names a message lists.
MOST_LABELS = 10
_HASH_DIGITS = 6
_NEARNESS = 0.5

# Letters that Unicode does not decompose into an ASCII letter and a mark.
_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"}
    | {"đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "TH"}
)
# Where a word begins: after a lower-case letter and its digits, and where capitals end.
_WORD = re.compile(r"(?<=[a-z])([0-9]*)(?=[A-Z])|(?<=[A-Z0-9])(?=[A-Z][a-z])")


def snake_case(text: str) -> str:
    """Write a name in lower-case ASCII letters, digits and single underscores.

    ``CostCenterMaster`` -> ``cost_center_master``, ``XX_COSTCENTERMaster`` ->
    ``xx_costcenter_master``, ``SHORT10K`` -> ``short10k``, ``Größe (EUR)`` -> ``grosse_eur``. May
    be empty.
    """
    text = unicodedata.normalize("NFKD", text.translate(_LETTERS))
    text = text.encode("ascii", "ignore").decode()
    text = _WORD.sub(lambda digits: f"{digits[1] or ''}_", text)
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")


def model_prefixes(providers: Iterable[Provider], *, by_id: bool) -> dict[Provider, str]:
    """Return what the names of each model's streams begin with.

    Models whose names become the same all get their ids appended.

    Args:
        providers: All models of the tenant, not only those that are read: the names must not
            change with the settings.
        by_id: Whether to use ids alone, which stay the same when a model is renamed in SAC.
    """
    options = {}
    for provider in providers:
        model_id = _snake_id(provider.provider_id)
        name = "" if by_id else snake_case(provider.name)
        candidates = [name, f"{name}_{model_id}"] if name else [model_id]
        digest = _digest(provider.namespace_id, provider.provider_id)
        options[provider] = [*candidates, f"{candidates[-1]}_{digest}"]
    return _unique(options)


def stream_names(
    prefixes: Mapping[Provider, str], entity_sets: Iterable[tuple[Provider, str]]
) -> dict[tuple[Provider, str], str]:
    """Name the streams: ``{model}_{entity_set}``.

    The model of a stream is the one with the longest prefix that fits (`model_of`). A name that
    looks like another model's gets the id of its own model; entity sets of one model whose
    names become the same all get a hash of their names appended.

    Args:
        prefixes: All models of the tenant (`model_prefixes`).
        entity_sets: Pairs of a model and the name of one of its entity sets; all sets of a
            model, or none.
    """
    models = {prefix: provider for provider, prefix in prefixes.items()}
    options = {}
    for provider, set_name in entity_sets:
        digest = _digest(provider.namespace_id, provider.provider_id, set_name)
        prefix, suffix = prefixes[provider], snake_case(set_name) or digest
        options[provider, set_name] = [
            f"{prefix}_{suffix}",
            f"{prefix}_{_snake_id(provider.provider_id)}_{suffix}",
            f"{prefix}_{suffix}_{digest[:_HASH_DIGITS]}",
            f"{prefix}_{digest}",
        ]
    return _unique(options, lambda entity_set, name: model_of(models, name) == entity_set[0])


def model_of(models: Mapping[str, Provider], stream_name: str) -> Provider | None:
    """Find the model, of those by prefix, that a stream name belongs to, without asking SAC."""
    words = stream_name.split("_")
    prefixes = ("_".join(words[:count]) for count in range(len(words) - 1, 0, -1))
    return next((models[prefix] for prefix in prefixes if prefix in models), None)


def matches(pattern: str, *labels: str) -> bool:
    """Match a glob of ``*`` and ``?``; brackets have no special meaning."""
    glob = pattern.replace("[", "[[]")
    return any(label == pattern or fnmatchcase(label, glob) for label in labels)


def same_text(text: str) -> str:
    """Return what is the same for texts that differ only in normal form and in blanks at an end."""
    return unicodedata.normalize("NFC", text).strip()


def no_match(kind: str, pattern: str, labels: list[str]) -> str:
    """Describe that a pattern matches nothing, with near misses."""
    if not labels:
        return f"but there is no {kind} at all."
    there_are = ", ".join(map(log_safe, labels[:MOST_LABELS]))
    hint = did_you_mean(pattern, labels, cutoff=_NEARNESS) or f"there are {there_are}."
    for label in labels:
        if folded(label) == folded(pattern):  # It may look the same.
            hint = f"did you mean {label!a} (the setting has {pattern!a})?"
    return f"which matches no {kind}: {hint}"


def some_of(names: Sequence[str]) -> str:
    """List the first names, and how many more there are."""
    shown = ", ".join(map(log_safe, names[:MOST_LABELS]))
    more = len(names) - MOST_LABELS
    return f"{shown} and {more} more" if more > 0 else shown


def _unique(
    options: dict[_Named, list[str]],
    fits: Callable[[_Named, str], bool] = lambda _item, _name: True,
) -> dict[_Named, str]:
    """Give each item the first of its candidates that fits and that no other item claims.

    All items with a contested name move on to their next candidate together, so their order does
    not matter. The last candidate of each is unique by itself.
    """
    while True:
        wanted = {item: names[0] for item, names in options.items() if fits(item, names[0])}
        counts = Counter(wanted.values())
        losers = [
            names
            for item, names in options.items()
            if len(names) > 1 and (item not in wanted or counts[names[0]] > 1)
        ]
        if not losers:
            return {item: names[0] for item, names in options.items()}
        for names in losers:
            del names[0]


def _snake_id(model_id: str) -> str:
    """Write an id without splitting it into words."""
    return snake_case(model_id.lower())


def _digest(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:10]
