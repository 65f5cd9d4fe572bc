"""Escapes text for Markdown, so that names and labels are shown literally and never read as markup or HTML."""

import re

# A code span of CommonMark: between two runs of equally many backticks.
_CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
# Characters that begin or end markup. An underscore within a word, brackets around an interval and `<` before a number
# do not.
_MARKUP = re.compile(r"[\\`*~|$]|<(?=[A-Za-z/!?])|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])")
_LINE_START = re.compile(r"^(?=[#>+=-]+(?:\s|$))")  # a heading, a quotation, a list, or the underline of a heading


def markdown(text: str, *, cell: bool = False) -> str:
    """Return text as one line of Markdown that shows it literally; `words` between backticks are code.

    In a `cell` of a table, bars are escaped within code, too.
    """
    line, parts, end = re.sub(r"\s+", " ", text), [], 0
    for code in _CODE.finditer(line):
        if cell and re.search(r"\\[|`]", code[0]):  # not representable as code in a table
            continue
        parts += [_plain(line[end : code.start()]), code[0].replace("|", "\\|") if cell else code[0]]
        end = code.end()
    return _LINE_START.sub(r"\\", "".join([*parts, _plain(line[end:])]))


def markdown_code(text: str) -> str:
    """Return text as one line of Markdown code, whatever backticks it contains."""
    line = re.sub(r"\s+", " ", text)
    longest = max(map(len, re.findall("`+", line)), default=0)
    fence, space = "`" * (longest + 1), " " * (longest > 0)
    return f"{fence}{space}{line}{space}{fence}"


def _plain(text: str) -> str:
    return _MARKUP.sub(lambda match: f"\\{match[0]}", text)
