"""Stream names, which are unique and do not depend on SAC's order, and globs for them."""

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
# The maximum number of names in a message.
MOST_LABELS = 10
_HASH_DIGITS = 6
_NEARNESS = 0.5

# Letters that Unicode does not decompose into an ASCII letter and a mark.
_LETTERS = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L"}
    | {"đ": "d", "Đ": "D", "ð": "d", "Ð": "D", "þ": "th", "Þ": "TH"}
)
# A word starts after a lower-case letter and its digits, and at the last capital of several.
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
    """Return the prefix of each model's stream names.

    If the names of several models become the same, all of them get their IDs appended.

    Args:
        providers: All models of the tenant, not only those to read: the names must not depend on
            the settings.
        by_id: Whether to use IDs alone, which do not change when a model is renamed in SAC.
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

    The model of a stream is the one with the longest matching prefix (`model_of`). A name that
    would belong to another model gets the ID of its own model. If the names of several entity sets
    of a model become the same, all of them get a hash appended.

    Args:
        prefixes: All models of the tenant (`model_prefixes`).
        entity_sets: Pairs of a model and one of its entity sets; either all sets of a model, or
            none.
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


def normalized_text(text: str) -> str:
    """Normalize a text, so that texts with other Unicode forms or outer spaces become equal."""
    return unicodedata.normalize("NFC", text).strip()


def no_match(kind: str, pattern: str, labels: list[str]) -> str:
    """Describe that a pattern matches nothing, with near misses."""
    if not labels:
        return f"but no {kind} exists."
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
    """Give each item the first of its candidates that fits and that no other item has.

    Items with the same candidate all move on to their next one, so their order does not matter. The
    last candidate of each is unique.
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
    """Convert an ID without splitting it into words."""
    return snake_case(model_id.lower())


def _digest(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:10]
