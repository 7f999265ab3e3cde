"""A configuration as it is written: the text of a YAML file with changes on top, as plain values.

A configuration is untrusted. It is read as plain values only: no tag makes an object, no alias refers to itself, and a
field that is written twice is refused, where YAML would take the last one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError
from ..suggest import did_you_mean
from . import schema, words

LIMIT = 1_000_000  # bytes of a configuration
MAX_DIGITS = 1000  # of a number; Python reads no more than 4,300
TEXT_IN_QUOTES = "put the text in quotes"
FAULTS = (
    ("'\\t'", "a tab is not allowed here", "indent with spaces"),
    ("written twice", "{problem}", "keep one of them"),
    (
        "mapping values are not allowed",
        "a colon is not allowed here",
        "indent the fields of a section alike, and put text that contains a colon in quotes",
    ),
    ("expected <block end>", "it does not fit the lines above it", "indent the fields of a section alike"),
    ("could not find expected ':'", "a field has no colon after its name", "write it as name: value"),
    ("single document", "a second document begins here", "remove the line ---"),
    ("document start", "a line cannot begin with %", TEXT_IN_QUOTES),
    ("end of stream", "a quote is not closed", "close it, or remove it"),
    ("stream end", "a bracket is not closed", "close it with ] or }"),
    ("expected ',' or", "a comma or a closing bracket is missing here", TEXT_IN_QUOTES + ", or add what is missing"),
    ("undefined alias", "{problem}", "write the value out, or " + TEXT_IN_QUOTES + " if it begins with *"),
    ("node content", "no value can begin here", TEXT_IN_QUOTES + ", or write a value"),
    ("does not fit its tag", "{problem}", "remove the tag, or " + TEXT_IN_QUOTES),
    ("too many digits", "{problem}", "write a smaller number, or " + TEXT_IN_QUOTES),
    ("cannot begin a value", "{problem}", TEXT_IN_QUOTES),
    ("base64", "the value does not fit its tag !!binary", "remove the tag"),
    ("for the tag", "a tag (a word that begins with !) is not allowed", "remove the tag, or " + TEXT_IN_QUOTES),
    ("escape character", "{problem}", "put the text in single quotes, where a backslash has no meaning"),
    ("unhashable", "a list or a section is not the name of a field", TEXT_IN_QUOTES),
    ("recursive", "an alias (*name) refers to the value that contains it", "write the value out"),
    ("for merging", "<< must be followed by an alias of a section", "write the fields out"),
)
"""Words of PyYAML's messages, and what they mean to a reader, with the remedy."""

Keys = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration as plain values. `name` says where it came from; `changed` are the paths of its overrides."""

    name: str
    tree: dict[str, Any]
    root: yaml.Node | None = None  # None: there is no text
    changed: tuple[Keys, ...] = ()

    def place(self, path: Sequence[int | str]) -> str:
        """The place where a field was written, to stand before its name: ``--set `` or ``line 7, ``."""
        if any(tuple(path[: len(changed)]) == changed for changed in self.changed):
            return "--set "
        return f"line {_line(self.root, path)}, " if path and self.root else ""


class _Loader(yaml.SafeLoader):
    """YAML as editors read it: dates, yes, no, on and off are text, as in YAML 1.2."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (PyYAML's own name and form)
        first: [(tag, form) for tag, form in forms if not tag.endswith((":timestamp", ":bool"))]
        for first, forms in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, TypeError, AttributeError, KeyError):  # PyYAML raises them all, e.g. for !!int x
            number = node.tag.endswith((":int", ":float")) and len(node.value) > MAX_DIGITS
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")[:80]
            problem = "the number has too many digits" if number else f"the value does not fit its tag {tag}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = set()
        for name, _ in node.value:
            if isinstance(name, yaml.ScalarNode) and name.value in names:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the field {name.value[:100]!r} is written twice", name.start_mark
                )
            names.add(name.value if isinstance(name, yaml.ScalarNode) else id(name))
        return dict(super().construct_mapping(node, deep))


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF")


def read(file: Path) -> str:
    """The text of a configuration file.

    Raises:
        ConfigError: the file cannot be read, is too large, or is not text.
    """
    try:
        with file.open("rb") as opened:
            raw = opened.read(LIMIT + 1)
    except (OSError, ValueError) as e:
        raise ConfigError(f"cannot read the configuration {file}: {_why(e, file)}") from None
    if len(raw) > LIMIT:
        raise ConfigError(f"configuration {file} has more than {LIMIT:,} bytes\n  remedy: name a YAML file of settings")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = raw.count(b"\n", 0, e.start) + 1
        raise ConfigError(
            f"configuration {file} line {line}: it is not text in UTF-8\n  remedy: save the file as UTF-8"
        ) from None


def _why(error: OSError | ValueError, file: Path) -> str:
    if isinstance(error, IsADirectoryError):
        return "it is a directory\n  remedy: name a YAML file in it"
    if not isinstance(error, FileNotFoundError):
        return getattr(error, "strerror", None) or str(error)
    near = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
    return (
        f"there is no such file{did_you_mean(file.name, near)}\n  remedy: ssb config > {file} writes one to start from"
    )


def parse(name: str, text: str) -> Document:
    """The configuration in a YAML text; `name` is for messages.

    Raises:
        ConfigError: it is not valid YAML, or not a mapping of sections.
    """
    root, tree = load(name, text)
    if root is None:
        raise ConfigError(f"{name} is empty\n  remedy: ssb config prints a whole configuration to start from")
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{name} must be a mapping of sections (model, problems, ...), but it is {_kind(tree)}\n"
            "  remedy: ssb config prints a whole configuration to start from"
        )
    return Document(name, tree, root)


def override(document: Document, text: str) -> Document:
    """The document with one field changed, as `text` says: ``rollouts.samples=8``. The value is YAML.

    Raises:
        ConfigError: `text` has no ``=``, its value is not valid YAML, or there is no such field.
    """
    dotted, equals, value = text.partition("=")
    if not equals or not all(dotted.split(".")):
        raise ConfigError(f"--set {text:.200}: write it as section.field=value, e.g. --set rollouts.samples=8")
    path = tuple(int(key) if key.isdecimal() and len(key) < 10 else key for key in dotted.split("."))
    known, _ = schema.find(path)
    if known != path:
        raise ConfigError(f"--set {dotted:.200}: {words.unknown_field(path)}\n  remedy: ssb config prints every field")
    try:
        tree = _replace(document.tree, path, load(f"--set {text:.200}", value)[1])
    except LookupError as e:
        raise ConfigError(f"--set {dotted:.200}: {e.args[0]}") from None
    return replace(document, tree=tree, changed=(*document.changed, path))


def _replace(tree: Any, path: Keys, value: Any, above: str = "") -> Any:
    """A copy of the tree with `value` at `path`. What several places share by an alias changes in one of them only."""
    if not path:
        return value
    key, rest = path[0], path[1:]
    below = f"{above}.{key}".lstrip(".")
    if isinstance(tree, list) and isinstance(key, int):
        if key >= len(tree):
            raise LookupError(f"{above} has {len(tree)} items, numbered from 0\n  remedy: give a smaller number")
        return [*tree[:key], _replace(tree[key], rest, value, below), *tree[key + 1 :]]
    if isinstance(tree, dict) or tree is None:
        inside = tree or {}
        return {**inside, key: _replace(inside.get(key), rest, value, below)}
    raise LookupError(f"{above} is {_kind(tree)}, which has no field {key}")


def load(name: str, text: str) -> tuple[yaml.Node | None, Any]:
    """The node and the value of a YAML text.

    Raises:
        ConfigError: it is not valid YAML.
    """
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
        return root, None if root is None else loader.construct_object(root, deep=True)
    except yaml.reader.ReaderError as e:
        line = text.count("\n", 0, e.position) + 1
        raise ConfigError(
            f"{_at(name, text, line)}: the control character {chr(e.character)!r} is not allowed\n  remedy: remove it"
        ) from None
    except yaml.MarkedYAMLError as e:
        raise ConfigError(_explain(name, text, e)) from None
    except RecursionError:
        raise ConfigError(f"{name}: its brackets are nested too deeply\n  remedy: remove the extra ones") from None


def _explain(name: str, text: str, error: yaml.MarkedYAMLError) -> str:
    """The message about YAML that cannot be read: its line, what is wrong, and the remedy."""
    problem = (
        (error.problem or "").removeprefix("found ").replace("that cannot start any token", "cannot begin a value")
    )
    told = f"{error.context} {problem}"
    meaning, remedy = next(((m, r) for sign, m, r in FAULTS if sign in told), ("it is not valid YAML ({problem})", ""))
    mark = error.context_mark if "not closed" in meaning and error.context_mark else error.problem_mark
    end = f"\n  remedy: {remedy}" if remedy else "\n  remedy: " + TEXT_IN_QUOTES
    return f"{_at(name, text, mark.line + 1 if mark else 1)}: {meaning.format(problem=problem)[:300]}{end}"


def _at(name: str, text: str, line: int) -> str:
    return f"{name} line {line}" if "\n" in text.strip() else name


def _kind(value: Any) -> str:
    """The form of a value, in words."""
    return "a list" if isinstance(value, list) else "a section" if isinstance(value, dict) else "a single value"


def _line(node: yaml.Node, path: Sequence[int | str]) -> int:
    """The line of the field at `path`, or of the section that lacks it. The first line is 1."""
    line = node.start_mark.line
    for key in path:
        inside = _inside(node, key)
        if inside is None:
            break
        line, node = inside
    return line + 1


def _inside(node: yaml.Node, key: int | str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key].start_mark.line, node.value[key]
    if isinstance(node, yaml.MappingNode):  # a field's own value comes after those that << merges
        fields = ((name.start_mark.line, value) for name, value in reversed(node.value) if name.value == str(key))
        return next(fields, None)
    return None
