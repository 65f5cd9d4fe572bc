"""The grammar of sentence templates: `[optional]`, `(a|b)`, `(a;b)` in any order, `<rule>` and `{list}`.

It is that of Home Assistant's intents (https://github.com/OHF-Voice/hassil). A backslash takes the meaning from the next
character, and `{list:slot}` is `{list}`.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from distxfer.errors import InputError

_TOKEN = re.compile(
    r"\\(?P<escaped>.)|\{(?P<list>[^{}]+)\}|<(?P<rule>[^<>]+)>|(?P<text>[^\\()\[\]{}<>|;]+)|.", re.DOTALL
)
_CLOSING = {"(": ")", "[": "]"}
_GROUPS: Mapping[str, Literal["choice", "permutation"]] = {"|": "choice", ";": "permutation"}


@dataclass(frozen=True)
class Group:
    """Nodes one after the other, one of them, or all of them in any order with blanks between."""

    type: Literal["sequence", "choice", "permutation"]
    nodes: tuple["Node", ...]


@dataclass(frozen=True)
class Reference:
    """A `<rule>` or a `{list}`, by name."""

    type: Literal["rule", "list"]
    name: str


Node = str | Group | Reference
Piece = tuple[str, str]  # a text, and the list that it was taken from: "" if from none
Choose = Callable[[int], int]  # returns a number below n


@dataclass(frozen=True)
class Grammar:
    """The rules and lists that templates refer to."""

    rules: Mapping[str, Node]
    lists: Mapping[str, Sequence[Node]]


def parse(template: str) -> Node:
    """Return a template as a tree; raises InputError where brackets do not match, or one group has both `|` and `;`."""
    return _group(template, _TOKEN.finditer(template), "")


def expand(node: Node, grammar: Grammar, choose: Choose, source: str = "") -> Iterator[Piece]:
    """Yield the pieces of one expansion; `choose(n)` picks each alternative. `source` is the list that the node is in."""
    match node:
        case str():
            yield node, source
        case Reference("rule", name):
            yield from expand(grammar.rules[name], grammar, choose, source)
        case Reference(_, name):
            values = grammar.lists[name]
            yield from expand(values[choose(len(values))], grammar, choose, source or name)
        case Group("sequence", nodes):
            for part in nodes:
                yield from expand(part, grammar, choose, source)
        case Group("choice", nodes):
            yield from expand(nodes[choose(len(nodes))], grammar, choose, source)
        case Group(_, nodes):
            remaining = list(nodes)
            while remaining:
                yield " ", source
                yield from expand(remaining.pop(choose(len(remaining))), grammar, choose, source)
            yield " ", source


def lists_of(node: Node, rules: Mapping[str, Node]) -> Iterator[str]:
    """Yield the name of every list that a template refers to, directly or in rules."""
    match node:
        case Reference("rule", name):
            yield from lists_of(rules[name], rules)
        case Reference(_, name):
            yield name
        case Group(_, nodes):
            for part in nodes:
                yield from lists_of(part, rules)


def _group(template: str, tokens: Iterator[re.Match[str]], closing: str) -> Node:
    """Return what stands before the bracket `closing`, or before the end of the template if it is empty."""
    separator = ""
    sequences: list[list[Node]] = [[]]
    for token in tokens:
        match token[0]:
            case "(" | "[" as bracket:
                node = _group(template, tokens, _CLOSING[bracket])
                sequences[-1].append(node if bracket == "(" else Group("choice", (node, "")))
            case "|" | ";" as sign if separator in ("", sign):
                separator = sign
                sequences.append([])
            case bracket if bracket == closing:
                break
            case _ if token.lastgroup in ("escaped", "text"):
                sequences[-1].append(token[token.lastgroup])
            case _ if token.lastgroup == "list":
                sequences[-1].append(Reference("list", token["list"].partition(":")[0]))
            case _ if token.lastgroup == "rule":
                sequences[-1].append(Reference("rule", token["rule"]))
            case sign:
                raise InputError(f"The template `{template}` has `{sign}` at {token.start()}, where it has no meaning.")
    else:
        if closing:
            raise InputError(f"The template `{template}` lacks a `{closing}`.")
    nodes = tuple(Group("sequence", tuple(nodes)) for nodes in sequences)
    return Group(_GROUPS[separator], nodes) if separator else nodes[0]
