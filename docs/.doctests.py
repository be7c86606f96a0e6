"""An extension of Griffe, which reads the docstrings for the site: examples become blocks of code.

The examples of the package's docstrings stand at their end without a heading. Markdown would read `>>>` as a quotation.
"""

import re
from typing import Any

from griffe import Extension

DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.M)  # from the prompt to the next empty line


class Doctests(Extension):
    """Puts each doctest of a docstring into a fenced block."""

    def on_object(self, *, obj: Any, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = DOCTEST.sub(lambda found: f"```pycon\n{found.group()}\n```", obj.docstring.value)
