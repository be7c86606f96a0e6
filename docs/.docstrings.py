"""An extension of Griffe, which reads the docstrings for the site.

Examples stand at the end of a docstring without a heading, and Markdown would read `>>>` as a quotation: they become
blocks of code. An entry for several names, `in_features, out_features: ...`, becomes an entry for each.
"""

import re
from typing import Any

from griffe import Extension

DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.M)  # from the prompt to the next empty line
ENTRY = re.compile(r"^( +)((?:\w+, )+\w+)(: .*(?:\n\1 .*)*)", re.M)  # with the lines that are indented more


def one_for_each(entry: re.Match[str]) -> str:
    """The entry once for each of its names."""
    indent, names, text = entry.groups()
    return "\n".join(indent + name + text for name in names.split(", "))


class Docstrings(Extension):
    """Changes the text of each docstring before it is parsed."""

    def on_object(self, *, obj: Any, **kwargs: Any) -> None:
        """Called for each module, class, function and attribute."""
        if obj.docstring is not None:
            text = ENTRY.sub(one_for_each, obj.docstring.value)
            obj.docstring.value = DOCTEST.sub(lambda example: f"```pycon\n{example.group()}\n```", text)
