"""The one normal form of a configured part: a plain mapping `{name: focal, gamma: 2.0}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def plain(value: Any) -> Any:
    """Return `value` with mappings as dicts, sequences as lists, tensors and arrays as numbers, terms as their specs.

    Hydra's containers are mappings and sequences; reading them resolves their interpolations.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(getattr(value, "spec", None), Mapping):
        return plain(value.spec)
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [plain(item) for item in value]
    return value


def name_and_arguments(part: str, spec: str | Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Split `"focal"` or `{name: focal, gamma: 2.0}` into the name and the arguments.

    Args:
        part: What is configured, for the message.
        spec: The name or the mapping.

    Raises:
        TypeError: `spec` is neither.
        ValueError: The mapping has no name.
    """
    if isinstance(spec, str):
        return spec, {}
    if not isinstance(spec, Mapping):
        raise TypeError(f"{part} must be a name or a mapping with a name, got {spec!r}")
    arguments = plain(spec)
    name = arguments.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(f"{part} must have a name, as in {{name: ...}}, got {arguments!r}")
    return name, arguments
