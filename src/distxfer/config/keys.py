"""The keys of recipes, each with its type, default and meaning."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter

from distxfer.config.dotted import flatten
from distxfer.config.files import DEFAULTS, SOURCES
from distxfer.config.settings import Sections
from distxfer.interventions import intervention_class, intervention_names

_TYPES = {
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "string": "text",
    "object": "table",
}


@dataclass(frozen=True)
class Key:
    """A key of recipes: its dotted name, what it may be, its default (None: none) and what it means."""

    name: str
    type: str
    default: Any
    meaning: str


def recipe_keys() -> Iterator[Key]:
    """Yield the keys of a recipe's sections, in the order of the defaults, then those of all interventions."""
    types = {name: _type(definition) for name, definition in _leaves(Sections.model_json_schema())}
    for path in (DEFAULTS, SOURCES):
        text = path.read_text(encoding="utf-8")
        meanings = _comments(text)
        for name, value in flatten(tomllib.loads(text)):
            yield Key(name, types[re.sub(r"^phase\.\w+", "phase.*", name)], value, meanings.get(name, ""))
    for kind in intervention_names():
        keys = TypeAdapter(intervention_class(kind)).json_schema().get("properties", {})
        for name, definition in keys.items():
            meaning = definition.get("description", "")
            yield Key(f"intervention.{kind}.{name}", _type(definition), definition.get("default"), meaning)


def _comments(text: str) -> dict[str, str]:
    """Return dotted key -> the comment behind its value, in a TOML file of tables and values on one line each."""
    meanings, table = {}, ""
    for line in text.splitlines():
        if heading := re.match(r"\[([\w.]+)\]", line):
            table = f"{heading[1]}."
        elif entry := re.match(r"(\w+) = .*?\s# (.*)", line):
            meanings[f"{table}{entry[1]}"] = entry[2]
    return meanings


def _leaves(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the dotted names of a JSON schema's single values, `*` for a name that is free, with their definitions."""

    def walk(definition: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if "$ref" in definition:
            definition = schema["$defs"][definition["$ref"].rpartition("/")[2]]
        if "properties" in definition:
            for name, inner in definition["properties"].items():
                yield from walk(inner, f"{prefix}.{name}" if prefix else name)
        elif "$ref" in (inner := definition.get("additionalProperties") or {}):
            yield from walk(inner, f"{prefix}.*")
        else:
            yield prefix, definition

    return walk(schema, "")


def _type(definition: Mapping[str, Any]) -> str:
    """Return what a JSON schema allows, in words: `mean, cls or last`, `whole number`, `list or all`."""
    choices = [word for part in definition.get("anyOf", [definition]) for word in _choices(part)]
    return " or ".join(filter(None, (", ".join(choices[:-1]), choices[-1]))) if choices else "text"


def _choices(part: Mapping[str, Any]) -> list[str]:
    if "const" in part:
        return [str(part["const"])]
    if "enum" in part:
        return [str(word) for word in part["enum"]]
    if "anyOf" in part:
        return [word for inner in part["anyOf"] for word in _choices(inner)]
    if part.get("type") == "null":
        return []
    if part.get("type") == "array":
        inner = {"integer": "numbers", "string": "names"}.get(part["items"].get("type"), "values")
        return [f"list of {'paths' if part['items'].get('format') == 'path' else inner}"]
    return ["path" if part.get("format") == "path" else _TYPES.get(part.get("type", ""), "text")]
