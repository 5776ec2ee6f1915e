"""Settings from environment variables: values as people write them, and misspelt names."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tap_sac.inputs import read_json_file
from tap_sac.sac.errors import SACError
from tap_sac.safety.text import log_safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_TRUE = {"true", "t", "yes", "y", "on", "1"}
_FALSE = {"false", "f", "no", "n", "off", "0"}
_QUOTES = "'\""
_NO_FILE = Path(os.devnull)
_MOST_LETTERS = 2  # by which a misspelling differs
# Set by Meltano, by Kubernetes for a service called tap-sac, and the log level.
_OF_OTHERS = ("_", "LOGLEVEL", "SERVICE_", "PORT")


def env_file() -> Path:
    """Find the file .env in the working directory, or else in the nearest one above it.

    Without one, the result is an empty file, or else the SDK would search above its own
    installation folder.
    """
    with suppress(OSError):  # The directory is gone, or not for this user to look into.
        here = Path.cwd()
        files = (folder / ".env" for folder in (here, *here.parents))
        return next((file for file in files if file.is_file()), _NO_FILE)
    return _NO_FILE


def read_environment(
    variables: Mapping[str, str],
    prefix: str,
    settings: Mapping[str, dict[str, Any]],
    parse: Callable[[dict[str, Any], str], dict[str, Any]],
) -> dict[str, Any]:
    """Read the settings from environment variables; an empty variable counts as unset.

    `parse` reads settings that are neither booleans nor objects, by their JSON Schema.

    Raises:
        SACError: If one cannot be read; its message does not show the value.
    """
    found: dict[str, Any] = {}
    for name, schema in settings.items():
        variable = f"{prefix}{name.upper()}"
        if not (text := variables.get(variable)):
            continue
        try:
            if "boolean" in schema["type"]:
                found[name] = _boolean(text)
            elif "object" in schema["type"]:
                found[name] = read_json_file(text.encode())
            else:
                found |= parse({"properties": {name: schema}}, prefix)
        except (ValueError, ArithmeticError, RecursionError) as error:
            # Errors in JSON are described without the values.
            why = f" ({error})" if "object" in schema["type"] else ""
            msg = (
                f"The environment variable {variable} cannot be read{why}: write true or false, a "
                "number in digits, and a list or an object as JSON."
            )
            raise SACError(msg) from None
    return found


def misspelt_variables(
    variables: Iterable[str], prefix: str, settings: Iterable[str]
) -> Iterator[str]:
    """Warn of unused variables whose names are close to those of settings."""
    known = [f"{prefix}{name.upper()}" for name in settings]
    for variable in sorted({*variables} - {*known}):
        name = variable.upper()  # Differences in case are not misspellings.
        if name.startswith(tuple(f"{prefix}{start}" for start in _OF_OTHERS)):
            continue
        # An environment may have hundreds of variables: most are longer or shorter than a setting.
        alike = [other for other in known if abs(len(other) - len(name)) <= _MOST_LETTERS]
        nearest = min(alike, key=partial(_distance, name), default="")
        if nearest and _distance(name, nearest) <= _MOST_LETTERS:
            yield (
                f"The environment variable {log_safe(variable)} is ignored, because there is no "
                f"such setting: did you mean {nearest}?"
            )


def _boolean(text: str) -> bool:
    word = text.strip()
    if word[:1] in _QUOTES and word[1:].endswith(word[:1]):
        word = word[1:-1].strip()
    word = word.lower()
    if word not in _TRUE | _FALSE:
        raise ValueError
    return word in _TRUE


def _distance(text: str, other: str) -> int:
    """Count the letters to insert, delete or replace (Levenshtein), until they are too many."""
    row = list(range(len(other) + 1))
    for number, letter in enumerate(text, 1):
        above, row = row, [number]
        for place, wanted in enumerate(other):
            changed = above[place] + (letter != wanted)
            row.append(min(changed, above[place + 1] + 1, row[-1] + 1))
        if min(row) > _MOST_LETTERS:
            break
    return row[-1]
