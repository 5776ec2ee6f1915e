"""All that this package needs of the Singer SDK beyond its documentation, and may lose one day.

Private names are used in two modules only. When an upgrade of the SDK drops or changes one of them,
or a text or a rule that this package depends on, a test fails here, by its name.
"""

from __future__ import annotations

import ast
import copy
import importlib
import inspect
import logging
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import singer_sdk
from hypothesis import given
from hypothesis import strategies as st
from singer_sdk import Stream, Tap
from singer_sdk.helpers._batch import StorageTarget
from singer_sdk.mapper import PluginMapper, RemoveRecordTransform, SameRecordTransform, StreamMap
from singer_sdk.plugin_base import PluginBase, SingerCommand

import tap_sac
from tap_sac.singer import sdk_logs
from tap_sac.singer.maps import applied
from tap_sac.singer.shared_tables import table_names
from tap_sac.tap import TapSAC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SDK = Path(singer_sdk.__file__).parent
PACKAGE = Path(tap_sac.__file__).parent
# The sample tenant knows nothing of the SDK.
MODULES = [path for path in PACKAGE.rglob("*.py") if "demo" not in path.parts]
SEAMS = {PACKAGE / "command_line.py", PACKAGE / "singer" / "page_stream.py"}

# Methods, with their parameters.
METHODS = {
    (Stream, "_write_state_message"): ["self"],
    (Stream, "_write_starting_replication_value"): ["self", "context"],
    (Stream, "_finalize_state"): ["self", "state"],
    (Stream, "_generate_record_messages"): ["self", "record"],
    (Stream, "_generate_schema_messages"): ["self"],
    (Stream, "_sync_batches"): ["self", "batch_config", "context"],
    (Stream, "_sync_records"): ["self", "context", "write_messages"],
    (Stream, "_write_batch_message"): ["self", "encoding", "manifest"],
    (Tap, "_handle_termination"): ["self", "signum", "frame"],
    (PluginBase, "_setup_signal_handlers"): ["self"],
    (PluginBase, "_validate_config"): ["self", "raise_errors"],
}
# Public, but final (`sync_all`), or called with other streams than the SDK's `setup_mapper` does.
BENT_METHODS = {
    (Tap, "sync_all"): ["self"],
    (Tap, "setup_mapper"): ["self"],
    (PluginBase, "setup_mapper"): ["self"],
    (PluginMapper, "register_raw_streams_from_catalog"): ["self", "catalog"],
    (PluginMapper, "register_raw_stream_schema"): [
        "self",
        "stream_name",
        "schema",
        "key_properties",
    ],
}
# Attributes of a stream, or of a tap.
OF_A_STREAM = ("_stream_version", "_schema", "_metadata", "_tap")
OF_A_STORAGE = ("_root_path",)
OF_A_TAP = ("_config", "_env_var_prefix", "_env_var_config")
# What is imported from modules that are private, or that the reference does not document.
IMPORTS = {
    "singer_sdk.configuration._dict_config": ["parse_environment_config"],
    "singer_sdk.helpers._batch": ["BaseBatchFileEncoding", "BatchConfig"],
    "singer_sdk.helpers._classproperty": ["classproperty"],
    "singer_sdk.helpers.conform": ["TypeConformanceLevel"],
    "singer_sdk.mapper": ["SameRecordTransform"],
    "singer_sdk.plugin_base": ["SingerCommand", "_ConfigInput"],
    "singer_sdk.tap_base": ["CliTestOptionValue"],
}
# Documented, but not what they are used for here.
BENT = {
    "Stream.state_manager.is_flushed",
    "Stream.ABORT_AT_RECORD_COUNT",
    "SameRecordTransform.flattening_enabled",
    "SameRecordTransform.transformed_schema",
}
PRIVATE_NAMES = {*(name for _, name in METHODS), *OF_A_STREAM, *OF_A_STORAGE, *OF_A_TAP}


@pytest.fixture(scope="module")
def tap() -> TapSAC:
    return TapSAC(config={"demo": True, "models": ["Budget"]})


@pytest.mark.parametrize(
    ("owner", "name", "parameters"),
    [(*method, names) for method, names in (METHODS | BENT_METHODS).items()],
)
def test_method_is_there(owner: type, name: str, parameters: list[str]) -> None:
    assert list(inspect.signature(getattr(owner, name)).parameters) == parameters


@pytest.mark.parametrize("name", OF_A_STREAM)
def test_attribute_of_a_stream_is_there(tap: TapSAC, name: str) -> None:
    assert name in vars(tap.streams["providers"])


@pytest.mark.parametrize("name", OF_A_STORAGE)
def test_attribute_of_a_storage_is_there(name: str) -> None:
    assert inspect.getattr_static(StorageTarget, name, None) is not None


@pytest.mark.parametrize("name", OF_A_TAP)
def test_attribute_of_a_tap_is_there(tap: TapSAC, name: str) -> None:
    assert inspect.getattr_static(Tap, name, None) is not None or name in vars(tap)


@pytest.mark.parametrize(
    ("module", "name"), [(module, name) for module, names in IMPORTS.items() for name in names]
)
def test_import_is_there(module: str, name: str) -> None:
    assert hasattr(importlib.import_module(module), name)


def test_private_names_of_the_sdk_exist(tap: TapSAC) -> None:
    stream = tap.streams["providers"]
    assert stream.ABORT_AT_RECORD_COUNT is None
    assert stream.state_manager.is_flushed in {True, False}
    assert isinstance(stream.stream_maps[0], SameRecordTransform)
    assert stream.stream_maps[0].flattening_enabled is False
    assert stream.stream_maps[0].transformed_schema["properties"].keys() == (
        stream.effective_schema["properties"].keys()
    )
    assert issubclass(type(TapSAC.cli), SingerCommand)


def test_setup_mapper_of_a_tap_does_what_it_did() -> None:
    """`CommandLineTap.setup_mapper` does the same for the selected streams alone."""
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(Tap.setup_mapper))).body
    assert isinstance(function, ast.FunctionDef)
    assert [ast.unparse(item) for item in function.body[1:]] == [
        "super().setup_mapper()",
        "self.mapper.register_raw_streams_from_catalog(self.catalog)",
    ]


@pytest.mark.parametrize("text", [*sdk_logs.ROUTINE, sdk_logs.UNHANDLED, sdk_logs.SUMMARY])
def test_routine_message_is_logged_by_the_sdk(text: str) -> None:
    assert any(string.startswith(text) for string in strings_of_the_sdk(SDK.rglob("*.py")))


def strings_of_the_sdk(paths: Iterable[Path]) -> set[str]:
    return {
        node.value
        for path in paths
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


NAMES = ("t_fact_data", "t_*", "*", "?_fact_data", "t_[ef]act_data", "T_FACT_DATA", "t_fact", "t")
DEFINITIONS: tuple[Callable[[str], Any], ...] = (
    lambda _: None,
    lambda _: "__NULL__",
    lambda _: {},
    lambda _: {"__alias__": "t_fact_data"},
    lambda _: {"__alias__": "other"},
    lambda _: {"__alias__": "__stream_name__[2:]", "ID": "1 + 1"},
    lambda name: {"__source__": name},
    lambda name: {"__source__": name, "__alias__": "other"},
    lambda name: {"__source__": name, "__filter__": "ID"},
)


MAPS = st.dictionaries(
    st.sampled_from(NAMES),
    st.builds(lambda make, name: make(name), st.sampled_from(DEFINITIONS), st.sampled_from(NAMES)),
    max_size=4,
)
FACTS = "t_fact_data"


def maps_of_the_sdk(config: dict[str, Any]) -> list[StreamMap]:
    mapper = PluginMapper({"stream_maps": copy.deepcopy(config)}, logging.getLogger("test"))
    mapper.register_raw_stream_schema(FACTS, {"properties": {"ID": {"type": "string"}}}, ["ID"])
    return mapper.stream_maps[FACTS]


@given(MAPS)
def test_maps_that_count_as_applied_are_those_that_the_sdk_applies(maps: dict[str, Any]) -> None:
    assert applied(FACTS, maps) == {
        name: definition
        for name, definition in maps.items()
        if [type(item) for item in maps_of_the_sdk({name: definition})] != [SameRecordTransform]
    }


@given(MAPS)
def test_tables_that_a_stream_counts_as_having_are_those_of_the_sdk(maps: dict[str, Any]) -> None:
    kept = [item for item in maps_of_the_sdk(maps) if not isinstance(item, RemoveRecordTransform)]
    assert table_names(FACTS, maps, PluginMapper) == [item.stream_alias for item in kept]


def used_in(path: Path) -> set[str]:
    """Return the private names of the SDK that a module uses, and what it imports of IMPORTS."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and node.attr in PRIVATE_NAMES:
            found.add(node.attr)
        elif isinstance(node, ast.FunctionDef) and node.name in PRIVATE_NAMES:
            found.add(node.name)
        elif isinstance(node, ast.Import):
            names = {alias.name for alias in node.names if alias.name.startswith("singer_sdk")}
            found |= {name for name in names if "._" in name}
        elif isinstance(node, ast.ImportFrom) and node.module:
            is_private = any(part.startswith("_") for part in node.module.split("."))
            names = {alias.name for alias in node.names}
            private = {name for name in names if name.startswith("_")}
            if node.module.startswith("singer_sdk"):
                listed = names & set(IMPORTS.get(node.module, ()))
                found |= listed | private | (names if is_private else set())
    return found


def test_private_names_are_used_in_two_modules_alone() -> None:
    users = {path for path in MODULES if used_in(path)}
    assert users == SEAMS


def test_every_private_name_is_listed() -> None:
    used = set().union(*(used_in(path) for path in SEAMS))
    listed = PRIVATE_NAMES | {name for names in IMPORTS.values() for name in names}
    assert used == listed


def test_no_other_private_attribute_of_the_sdk_is_used() -> None:
    """Whatever the SDK's classes call private, and this package does not define itself."""
    of_the_sdk = {
        name
        for owner in (*Tap.__mro__, *Stream.__mro__, *SingerCommand.__mro__)
        for name in vars(owner)
        if name.startswith("_") and not name.startswith("__")
    } - {"_abc_impl"}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in of_the_sdk:
                assert node.attr in PRIVATE_NAMES, f"{path.name} uses {node.attr}"
