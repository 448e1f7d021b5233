"""Docstrings as the site's parser reads them: `Example:` is its `Examples:`, and `<a, b>` is no HTML."""

import re
from typing import Any

import griffe


class Readable(griffe.Extension):
    """Rewrites docstrings as they are loaded."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring is not None:
            text = re.sub(r"^(\s*)Example:$", r"\1Examples:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r"<([\w ]+, [\w ]+)>", r"&lt;\1&gt;", text)
