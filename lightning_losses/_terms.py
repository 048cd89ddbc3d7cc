"""Named terms (penalties, constraints) from what a configuration or a caller writes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from torch import nn

from lightning_losses._mapping import name_and_arguments, plain
from lightning_losses._validation import choice, unknown_arguments


class Term:
    """Something with a short name that keeps its arguments under their own names."""

    name: ClassVar[str]
    number: ClassVar[str | None] = None  # the argument that a bare number stands for

    @property
    def spec(self) -> dict[str, Any]:
        """The plain mapping that builds the same again; submodules and functions appear in it by their names only."""
        arguments = {key: getattr(self, key) for key in inspect.signature(type(self)).parameters}
        return {"name": self.name} | {key: _plain(value) for key, value in arguments.items()}

    def __repr__(self) -> str:
        arguments = [f"{key}={value!r}" for key, value in self.spec.items() if key != "name"]
        return f"{type(self).__name__}({', '.join(arguments)})"


_TermT = TypeVar("_TermT", bound=Term)


def build_terms(kind: str, spec: Any, registry: Mapping[str, type[_TermT]], base: type[_TermT]) -> dict[str, _TermT]:
    """Build terms from a name, an object, a sequence of these, or a mapping of named terms.

    Args:
        kind: What a term is, for messages.
        spec: A mapping's values may be names, objects, numbers, mappings of arguments (with a `name` where the term's
            own is not one), or None for a term that is left out.
        registry: Name -> class.
        base: What all objects have to be.

    Returns:
        Term -> object, in the given order.

    Raises:
        ValueError: If a name is unknown, an argument is out of range, or two terms have one name.
        TypeError: If a class takes no such argument.
    """
    if spec is None:
        return {}
    if isinstance(spec, Mapping):
        return {
            str(key): _build(kind, str(key), value, registry, base) for key, value in spec.items() if value is not None
        }
    parts = spec if isinstance(spec, Sequence) and not isinstance(spec, str) else [spec]
    terms = [_build(kind, "", part, registry, base) for part in parts]
    names = [term.name for term in terms]
    if len(set(names)) < len(names):
        raise ValueError(f"two {kind}s of one kind need names, as in {{encoder: {{name: {names[0]}, ...}}}}")
    return dict(zip(names, terms, strict=True))


def _build(kind: str, key: str, value: Any, registry: Mapping[str, type[_TermT]], base: type[_TermT]) -> _TermT:
    if isinstance(value, base):
        return value
    if isinstance(value, Mapping):
        name, arguments = name_and_arguments(kind, {"name": key, **value})
    elif isinstance(value, str):
        name, arguments = value, {}
    else:
        name, arguments = key, None
    cls = registry[choice(kind, name, sorted(registry))]
    if arguments is None:
        if cls.number is None:
            raise TypeError(f"{kind} {name!r} needs a mapping of its arguments, got {value!r}")
        arguments = {cls.number: value}
    unknown_arguments(f"{kind} {name!r}", arguments, [*inspect.signature(cls).parameters])
    try:
        return cls(**arguments)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{kind}.{key or name}: {error}") from error


def _plain(value: Any) -> Any:
    if isinstance(value, nn.Module):
        return type(value).__name__
    if callable(value):
        return getattr(value, "__qualname__", type(value).__qualname__)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return plain(value)
