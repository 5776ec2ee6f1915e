"""Who imports whom: two wings that do not know what is above them, and no circles."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import tap_sac
from tap_sac.settings import SETTINGS

PACKAGE = Path(tap_sac.__file__).parent
MODULES = {
    ".".join(("tap_sac", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in PACKAGE.rglob("*.py")
}
# From the bottom up; a room imports only what is below it.
FLOORS = [
    {"tap_sac.demo", "tap_sac"},
    {"tap_sac.safety"},
    {"tap_sac.sac"},
    {"tap_sac.causes"},
    {
        "tap_sac.singer",
        "tap_sac.read_ahead",
        "tap_sac.tenant",
        "tap_sac.settings",
        "tap_sac.inputs",
        "tap_sac.terminal",
    },
    {"tap_sac.environment", "tap_sac.validation"},
    {"tap_sac.streams"},
    {"tap_sac.discovery"},
    {"tap_sac.report"},
    {"tap_sac.commands"},
    {"tap_sac.command_line"},
    {"tap_sac.tap"},
    {"tap_sac.__main__"},
]
WINGS = (
    *("tap_sac.safety", "tap_sac.sac", "tap_sac.singer", "tap_sac.streams"),
    *("tap_sac.discovery", "tap_sac.report", "tap_sac.commands", "tap_sac.demo"),
)
# What singer/ needs of sac/: data, digits and failures, and nothing that makes a request.
OF_SAC_FOR_SINGER = {"errors", "failures", "odata.decimals", "odata.model", "odata.pages"}

# A text of fewer is no part of a secret that is worth something.
FEWEST_CHARACTERS_SHOWN = 8
CUTS_THAT_NOBODY_SEES = (".hexdigest()[:10]", "answer.body[:1000]")


def imports(module: str) -> set[str]:
    """Return what a module imports, also where it does so late or for types alone."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = names & MODULES.keys()
            found.update(modules)
            if len(modules) < len(names):
                found.add(str(node.module))
    return found


def room(module: str) -> str:
    return next((wing for wing in WINGS if f"{module}.".startswith(f"{wing}.")), module)


def floor(module: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down(module: str) -> None:
    own = {name for name in imports(module) if name.startswith("tap_sac")}
    up = {
        name
        for name in own
        if room(name) != room(module) and floor(name) >= floor(module) and module != "tap_sac"
    }
    assert not up


@pytest.mark.parametrize("module", sorted(MODULES))
def test_the_wings_keep_to_themselves(module: str) -> None:
    found = imports(module)
    roots = {name.partition(".")[0] for name in found}
    if room(module) == "tap_sac.sac":
        assert "singer_sdk" not in roots
        of_ours = {room(name) for name in found if name.startswith("tap_sac")}
        assert of_ours <= {"tap_sac.sac", "tap_sac.safety"}
    elif room(module) == "tap_sac.singer":
        assert not roots & {"requests", "urllib3", "http", "socket"}
        of_sac = {name for name in found if name.startswith("tap_sac.sac")}
        assert of_sac <= {f"tap_sac.sac.{name}" for name in OF_SAC_FOR_SINGER}
    elif room(module) == "tap_sac.demo":
        assert not {
            name for name in found if name.startswith("tap_sac") and room(name) != room(module)
        }
        assert "singer_sdk" not in roots


def docstrings(tree: ast.Module) -> set[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return {ast.get_docstring(node, clean=False) or "" for node in nodes}


@pytest.mark.parametrize(
    "module", [name for name in sorted(MODULES) if room(name) == "tap_sac.sac"]
)
def test_the_protocol_has_no_words_of_the_tap(module: str) -> None:
    of_oauth = {"client_id", "client_secret", "refresh_token"}
    settings = {name for name in SETTINGS["properties"] if "_" in name} - of_oauth
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    described = docstrings(tree)  # They name parameters, which may be called like a setting.
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            named = settings & {*re.findall(r"\w+", node.value)}
            assert not named or node.value in described, node.lineno
            words = r"\bsettings?\b|\bmeltano\b|\btap-sac\b|(?<![\w-])--[a-z]"
            assert not re.search(words, node.value, re.IGNORECASE), node.lineno


def test_no_module_imports_itself_through_others() -> None:
    open_modules: list[str] = []
    done: set[str] = set()

    def visit(module: str) -> None:
        assert module not in open_modules, " -> ".join([*open_modules, module])
        if module in done:
            return
        open_modules.append(module)
        for name in sorted(imports(module) & MODULES.keys()):
            visit(name)
        done.add(open_modules.pop())

    for module in MODULES:
        visit(module)


def cut_by_hand(node: ast.AST) -> bool:
    """Return whether a text is cut: by a slice of many items or up to a longest length, or `:.40`.

    Lists are cut to a few items, or up to a constant of another name.
    """
    if isinstance(node, ast.FormattedValue) and node.format_spec:
        return bool(re.search(r"\.\d+'$|\.{", ast.unparse(node.format_spec)))
    if not isinstance(node, ast.Subscript) or not isinstance(node.slice, ast.Slice):
        return False
    end = node.slice.upper
    if isinstance(end, ast.Constant):
        return isinstance(end.value, int) and end.value >= FEWEST_CHARACTERS_SHOWN
    return end is not None and bool(re.search("longest|shown|width", ast.unparse(end).lower()))


@pytest.mark.parametrize(
    "module",
    [name for name in sorted(MODULES) if room(name) not in {"tap_sac.safety", "tap_sac.demo"}],
)
def test_texts_are_truncated_only_after_masking(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    cuts = [ast.unparse(node) for node in ast.walk(tree) if cut_by_hand(node)]
    assert not [cut for cut in cuts if not cut.endswith(CUTS_THAT_NOBODY_SEES)], "call `excerpt`"
    assert not imports(module) & {"textwrap", "reprlib"}
