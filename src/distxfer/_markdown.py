"""Text in Markdown: what a name or a label holds is shown as it is, and never read as markup or HTML."""

import re

# A code span, by CommonMark: between two runs of equally many backticks.
_CODE = re.compile(r"(?<!`)(`+)(?!`)(.+?)(?<!`)\1(?!`)")
# What begins or ends markup: an underscore within a word, a bracket around an interval and a `<` before a number do not.
_MARKUP = re.compile(r"[\\`*~|$]|<(?=[A-Za-z/!?])|&(?=#?\w+;)|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[:])")
_LINE_START = re.compile(r"^(?=[#>+=-]+(?:\s|$))")  # a heading, a quotation, a list, or the underline of a heading


def markdown(text: str, *, cell: bool = False) -> str:
    """Return text on one line in Markdown that shows it as it is; `words` between backticks are code.

    In a `cell` of a table a bar is escaped within code, too.
    """
    line, parts, end = re.sub(r"\s+", " ", text), [], 0
    for code in _CODE.finditer(line):
        if cell and re.search(r"\\[|`]", code[0]):  # which no table can have within code
            continue
        parts += [_plain(line[end : code.start()]), code[0].replace("|", "\\|") if cell else code[0]]
        end = code.end()
    return _LINE_START.sub(r"\\", "".join([*parts, _plain(line[end:])]))


def markdown_code(text: str) -> str:
    """Return text on one line as code of Markdown, whatever backticks it has."""
    line = re.sub(r"\s+", " ", text)
    longest = max(map(len, re.findall("`+", line)), default=0)
    fence, space = "`" * (longest + 1), " " * (longest > 0)
    return f"{fence}{space}{line}{space}{fence}"


def _plain(text: str) -> str:
    return _MARKUP.sub(lambda found: f"\\{found[0]}", text)
