"""An extension of Griffe, which reads the docstrings for the site.

Examples stand at the end of a docstring without a heading, and Markdown would read `>>>` as a quotation: they become
blocks of code. An entry for several names, `in_features, out_features: ...`, becomes an entry for each. The lines of
"Returns:" become one entry, for Griffe would take each of them for a value of its own.
"""

import re
from typing import Any

from griffe import Extension

DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.M)  # from the prompt to the next empty line
ENTRY = re.compile(r"^( +)((?:\w+, )+\w+)(: .*(?:\n\1 .*)*)", re.M)  # with the lines that are indented more
RETURNS = re.compile(r"^(( *)(?:Returns|Yields):\n\2    .*)((?:\n\2    .*)+)", re.M)  # two lines and more below it


def one_for_each(entry: re.Match[str]) -> str:
    """The entry once for each of its names."""
    indent, names, text = entry.groups()
    return "\n".join(indent + name + text for name in names.split(", "))


def as_one(section: re.Match[str]) -> str:
    """The section with the lines after the first indented more: they continue it."""
    first, _, others = section.groups()
    return str(first) + str(others).replace("\n", "\n    ")


class Docstrings(Extension):
    """Changes the text of each docstring before it is parsed."""

    def on_object(self, *, obj: Any, **kwargs: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None:
            text = RETURNS.sub(as_one, ENTRY.sub(one_for_each, obj.docstring.value))
            obj.docstring.value = DOCTEST.sub(lambda example: f"```pycon\n{example.group()}\n```", text)
