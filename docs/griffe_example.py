"""The reference reads a docstring's `Example:` as the section `Examples:`, the only name that its parser knows."""

import re
from typing import Any

import griffe


class ExampleSection(griffe.Extension):
    """Renames the section before docstrings are parsed."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename it in one docstring."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
