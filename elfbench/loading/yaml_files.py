"""Strict YAML: duplicate keys, tags, aliases of numbers as words and non-string keys are errors, and pydantic errors name the key.

PyYAML alone reads `1e-3` as a string, `no` as False, and keeps the last of two duplicate keys.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from elfbench.core.errors import ConfigError, suggestion

R = TypeVar("R", bound=BaseModel)
_EXPONENT = re.compile(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+")
_SHOWN = 80  # characters of a value in a message
_WORDS_FOR_BOOLEANS = {"yes", "no", "on", "off", "y", "n"}


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses what is silently misread."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str):
            raise ConfigError(
                "a key that is not a word", key=f"line {line}", found=repr(key), remedy="put it in quotes"
            )
        if key in content:
            raise ConfigError("the same key twice", key=key, found=f"line {line}", remedy="keep one of them")
        content[key] = loader.construct_object(value_node, deep=True)
    return content


def _scalar(loader: _StrictLoader, node: yaml.ScalarNode) -> object:
    if node.style is None and node.value.lower() in _WORDS_FOR_BOOLEANS:
        raise ConfigError(
            "a word that YAML reads as true or false",
            key=f"line {node.start_mark.line + 1}",
            found=node.value,
            allowed="true, false, or the word in quotes",
        )
    if node.tag == "tag:yaml.org,2002:bool":
        return loader.construct_yaml_bool(node)
    if _EXPONENT.fullmatch(node.value) and node.style is None:
        return float(node.value)
    return loader.construct_scalar(node)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_StrictLoader.add_constructor("tag:yaml.org,2002:bool", _scalar)
_StrictLoader.add_constructor("tag:yaml.org,2002:str", _scalar)


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file. Raises ConfigError that names the line or key."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "cannot read the file", key=str(path), found=str(error), allowed="a UTF-8 YAML file"
        ) from error
    try:
        content = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise ConfigError("not valid YAML", key=where, found=getattr(error, "problem", None) or str(error)) from error
    except ConfigError as error:
        raise ConfigError(
            f"{path.name}: {error.message}",
            key=error.key,
            found=error.found,
            allowed=error.allowed,
            remedy=error.remedy,
        ) from None
    if not isinstance(content, dict):
        raise ConfigError(
            "a YAML file that holds no keys", key=str(path), found=type(content).__name__, allowed="key: value lines"
        )
    return content


def validated(kind: type[R], content: dict[str, Any], *, source: str) -> R:
    """`content` as a strict record. A pydantic error becomes a ConfigError with the key, what was found and what is allowed."""
    try:
        return kind.model_validate_json(json.dumps(content))
    except ValidationError as error:
        # A misspelled key is told before the key that is missing because of it.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        raise _explained(kind, first, source, error.error_count()) from error


def _explained(kind: type[BaseModel], first: ErrorDetails, source: str, count: int) -> ConfigError:
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"]).lstrip(".")
    more = f" (and {count - 1} more)" if count > 1 else ""
    if first["type"] == "extra_forbidden":
        allowed = _fields_at(kind, first["loc"][:-1])
        name = str(first["loc"][-1])
        return ConfigError(
            f"{source}: unknown key{more}",
            key=key,
            found=name,
            allowed=allowed,
            remedy=suggestion(name, allowed) or f"remove {name!r}",
        )
    if first["type"] == "missing":
        return ConfigError(f"{source}: a key is missing{more}", key=key, remedy=f"add '{first['loc'][-1]}:'")
    return ConfigError(
        f"{source}: a wrong value{more}",
        key=key or "the whole file",
        found=_shown(first["input"]),
        allowed=_allowed(first["msg"]),
    )


def _allowed(message: str) -> str:
    told = message.removeprefix("Value error, ").removeprefix("Input should be ")
    return "keys with values (name: value)" if told == "an object" else told


def _shown(value: object) -> str:
    """A value as JSON, which is YAML too; the beginning of a long one."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    kind = "a list" if isinstance(value, list | tuple) else "keys" if isinstance(value, dict) else None
    short = text if len(text) <= _SHOWN else text[:_SHOWN] + " ..."
    return f"{kind}: {short}" if kind else short


def _fields_at(kind: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """Field names of the record at `location` inside `kind`."""
    current: Any = kind
    for part in location:
        if isinstance(part, int):
            continue
        field = current.model_fields.get(part) if isinstance(current, type) and issubclass(current, BaseModel) else None
        current = _record_in(field.annotation) if field else None
    return sorted(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else []


def _record_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _record_in(argument)
        if found is not None:
            return found
    return None
