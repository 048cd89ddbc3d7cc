"""Which parameters: the role of each, and their selection by role, glob or submodule.

Penalties, constraints and weight decay all ask here, so that "biases are exempt" means the same for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple, TypeAlias

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import ParametrizationList

from lightning_losses._validation import choice, nearest

ROLES = ("weight", "bias", "norm", "embedding", "scale")
EXEMPT = ("bias", "norm", "scale")

Where: TypeAlias = "str | nn.Module | Sequence[str | nn.Module] | None"


class Site(NamedTuple):
    """One place of a parameter in the module tree; a tied parameter has several."""

    name: str
    raw_name: str
    owner: nn.Module
    attribute: str
    parameter: nn.Parameter
    declared: bool


class Entry(NamedTuple):
    """One parameter with its role and all its places."""

    role: str
    sites: list[Site]

    @property
    def name(self) -> str:
        """The name it has first."""
        return self.sites[0].name

    @property
    def parameter(self) -> nn.Parameter:
        """The tensor itself."""
        return self.sites[0].parameter

    def matches(self, glob: str) -> bool:
        """Tell whether a glob names it at any of its places."""
        return any(fnmatchcase(site.name, glob) or fnmatchcase(site.raw_name, glob) for site in self.sites)


_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_TABLES = (nn.Embedding, nn.EmbeddingBag)
_NORM_CLASS = re.compile(r"norm(?!al(?!i[sz]))", re.IGNORECASE)  # RMSNorm, FrozenBatchnorm2d, Normalize; not NormalHead
_POSITION_WORDS = {"pos", "position", "positional", "rel", "relative", "table"}
_TOKEN_WORDS = {"token", "tokens", "embed", "embedding", "embeddings"}
_SCALE_WORDS = {"gamma", "beta", "gain", "scale", "temperature"}


def _words(site: Site) -> list[str]:
    """The words of the parameter's own name: `bias_ih_l0` -> bias, ih, l."""
    return re.findall(r"[a-z]+", site.attribute.lower())


def _is_vector(site: Site) -> bool:
    """One number per unit, however the shape is written: (C,), (1, C, 1, 1), ()."""
    return sum(size != 1 for size in site.parameter.shape) <= 1


def _is_bias(site: Site) -> bool:
    words = _words(site)
    return not {"bias", "biases"}.isdisjoint(words[:1] + words[-1:]) and _POSITION_WORDS.isdisjoint(words)


def _is_norm_gain(site: Site) -> bool:
    if isinstance(site.owner, _NORMS):
        return True
    return _is_vector(site) and any(_NORM_CLASS.search(cls.__name__) for cls in type(site.owner).__mro__)


def _is_weight_norm_gain(site: Site) -> bool:
    if isinstance(site.owner, ParametrizationList):
        return site.attribute == "original0" and any(type(step).__name__ == "_WeightNorm" for step in site.owner)
    return site.attribute.endswith("_g") and f"{site.attribute[:-2]}_v" in site.owner._parameters


# The first line that holds at any place of a parameter decides.
_RULES: tuple[tuple[str, Callable[[Site], bool]], ...] = (
    ("bias", _is_bias),
    ("norm", _is_norm_gain),
    ("scale", _is_weight_norm_gain),
    ("scale", lambda site: _is_vector(site) and not _SCALE_WORDS.isdisjoint(_words(site))),
    ("scale", lambda site: site.declared),
    ("embedding", lambda site: isinstance(site.owner, _TABLES)),
    ("embedding", lambda site: not (_TOKEN_WORDS | _POSITION_WORDS).isdisjoint(_words(site))),
    ("scale", lambda site: site.parameter.ndim <= 1),
    ("weight", lambda _: True),
)


def parameter_roles(module: nn.Module, roles: Mapping[str, str] | None = None) -> dict[str, str]:
    """Tell for every parameter of a module what it is.

    | role | what it is |
    |---|---|
    | `bias` | `bias` of any module, `bias_*` and `*_bias` (`bias_ih_l0`, `in_proj_bias`), but no position table |
    | `norm` | gains of torch's normalizations; vectors of classes with "norm" in their name, (1, C, 1, 1) included |
    | `scale` | weight-norm gains, layer scales, temperatures, PReLU slopes, whatever else has at most one dimension, and what the `no_weight_decay()` of the module or of a submodule names |
    | `embedding` | `nn.Embedding`, `nn.EmbeddingBag`, class and position tokens, position tables |
    | `weight` | everything else |

    The owner's type and the parameter's own name decide, never the names above it: `bias_head.weight` is a weight.
    A tied parameter appears once, under its first name; it is an embedding if any of its owners is one.
    Names are given without the prefixes that wrappers add (`_orig_mod.`, `_fsdp_wrapped_module.`, a leading `module.`).

    Args:
        module: Any module.
        roles: Overrides, glob of the name -> role; the first match wins. By default those of
            [`assign_roles`][lightning_losses.assign_roles].

    Returns:
        Name -> role, in the order of `module.named_parameters()`, frozen parameters included.

    Raises:
        ValueError: If an override matches nothing or names an unknown role, if a parameter has no shape yet
            (lazy modules), or if FSDP1 or DeepSpeed ZeRO-3 has replaced the shapes.

    Example:
        >>> from torch import nn
        >>> parameter_roles(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))
        {'0.weight': 'weight', '0.bias': 'bias', '1.weight': 'norm', '1.bias': 'bias'}
    """  # noqa: E501
    return {entry.name: entry.role for entry in find_entries(module, roles)}


def assign_roles(module: nn.Module, roles: Mapping[str, str]) -> None:
    """Set the roles of some parameters by hand, for all that ask about this module from now on.

    Args:
        module: Any module.
        roles: Glob of the name -> role; the first match wins.

    Raises:
        ValueError: If a glob matches nothing, or if a role is unknown.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
        >>> assign_roles(net, {"1.*": "scale"})
        >>> parameter_roles(net)
        {'0.weight': 'weight', '0.bias': 'bias', '1.weight': 'scale', '1.bias': 'scale'}
    """
    find_entries(module, roles)
    module._ll_roles = dict(roles)  # type: ignore[assignment]


def select(module: nn.Module, where: Where = None, roles: Mapping[str, str] | None = None) -> dict[str, nn.Parameter]:
    """Select the trainable parameters of a module by role, glob or submodule.

    `None` selects every role that is not in `EXEMPT`. A role selects all parameters of that role. A glob (of names)
    or a submodule does not reach exempt roles either, unless it matches nothing else: `"encoder.*"` leaves the biases
    out, `"encoder.*bias"` asks for them. A sequence selects the union of its items.

    Args:
        module: Any module.
        where: A role of `ROLES`, a glob such as `"encoder.*.weight"`, a submodule, a sequence of these, or None.
        roles: As for [`parameter_roles`][lightning_losses.parameter_roles].

    Returns:
        Name -> parameter, tied parameters once, in the order of `module.named_parameters()`.

    Raises:
        ValueError: If a glob or a submodule matches no parameter of the module.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
        >>> list(select(net)), list(select(net, "bias")), list(select(net, "2.*"))
        (['0.weight', '2.weight'], ['0.bias', '1.bias', '2.bias'], ['2.weight'])
    """
    found = _chosen(find_entries(module, roles), where)
    return {entry.name: entry.parameter for entry in found if entry.parameter.requires_grad}


class Selection:
    """`select` for one `where`, looked up again only when the module's structure has changed.

    What is kept are the owners of the parameters: a wrapper may replace a parameter by its shard at any time.
    """

    def __init__(self, where: Where = None) -> None:
        self.where = where
        self._layout: object = None
        self._places: list[tuple[str, nn.Module, str]] = []

    def __call__(self, module: nn.Module) -> dict[str, nn.Parameter]:
        """Return the same as `select(module, self.where)`."""
        parts = [(id(part), *map(id, part._parameters.values())) for part in module.modules()]
        layout = (parts, getattr(module, "_ll_roles", None))
        if layout != self._layout:
            first = [entry.sites[0] for entry in _chosen(find_entries(module), self.where)]
            self._places = [(site.name, site.owner, site.attribute) for site in first]
            self._layout = layout
        current = ((name, owner._parameters[attribute]) for name, owner, attribute in self._places)
        return {name: parameter for name, parameter in current if parameter is not None and parameter.requires_grad}

    def __getstate__(self) -> dict[str, object]:
        # A copy belongs to a copy of the module: it has to look for itself.
        return {"where": self.where, "_layout": None, "_places": []}


def _chosen(entries: list[Entry], where: Where) -> list[Entry]:
    if where is None:
        return [entry for entry in entries if entry.role not in EXEMPT]
    items = where if isinstance(where, Sequence) and not isinstance(where, str) else [where]
    names = {entry.name for item in items for entry in without_exempt(match(entries, item))}
    return [entry for entry in entries if entry.name in names]


def without_exempt(found: list[Entry], exempt: Sequence[str] = EXEMPT) -> list[Entry]:
    """Leave out what is exempt, unless nothing else was named: then it was asked for."""
    return [entry for entry in found if entry.role not in exempt] or found


def match(entries: list[Entry], item: str | nn.Module) -> list[Entry]:
    """Return the entries that one role, glob or submodule names; a glob or submodule that names none is an error."""
    if isinstance(item, nn.Module):
        inside = set(map(id, item.parameters()))
        found = [entry for entry in entries if id(entry.parameter) in inside]
        if not found:
            raise ValueError(f"the submodule {type(item).__name__} holds no parameter of this module")
        return found
    if not isinstance(item, str):
        raise TypeError(f"parameters are named by roles, globs and submodules, got {item!r}")
    if item in ROLES:
        return [entry for entry in entries if entry.role == item]
    found = [entry for entry in entries if entry.matches(item)]
    if not found:
        names = [site.name for entry in entries for site in entry.sites]
        above = {f"{name[: dot.start()]}.*" for name in names for dot in re.finditer(r"\.", name)}
        raise ValueError(f"{item!r} matches no parameter{nearest(item, [*names, *sorted(above), *ROLES])}")
    return found


def find_entries(module: nn.Module, roles: Mapping[str, str] | None = None) -> list[Entry]:
    """Return all parameters with their roles, tied ones once."""
    tied: dict[int, list[Site]] = {}
    for site in _sites(module):
        tied.setdefault(id(site.parameter), []).append(site)
    entries = [Entry(_role(sites), sites) for sites in tied.values()]
    overrides = getattr(module, "_ll_roles", {}) if roles is None else roles
    override = {
        entry.name: choice(f"role of {glob!r}", overrides[glob], ROLES)
        for glob in reversed(list(overrides))
        for entry in match(entries, glob)
    }  # the first match is set last
    return [entry._replace(role=override.get(entry.name, entry.role)) for entry in entries]


def _role(sites: list[Site]) -> str:
    return next(role for role, holds in _RULES if any(map(holds, sites)))


def _sites(module: nn.Module) -> Iterator[Site]:
    owners = list(module.named_modules(remove_duplicate=False))
    declared = [_join(path, str(name)) for path, owner in owners for name in _no_weight_decay(owner)]
    raw_names = [_join(path, attribute) for path, owner in owners for attribute in owner._parameters]
    names = dict(zip(raw_names, _plain_names(raw_names), strict=True))
    for path, owner in owners:
        for attribute, parameter in owner._parameters.items():
            if parameter is None:
                continue
            raw_name = _join(path, attribute)
            _check_shape(raw_name, parameter)
            exempt = any(fnmatchcase(raw_name, glob) for glob in declared)
            yield Site(names[raw_name], raw_name, owner, attribute, parameter, exempt)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _no_weight_decay(owner: nn.Module) -> Iterable[str]:
    method = getattr(owner, "no_weight_decay", None)
    return method() if callable(method) else ()


def _plain_names(names: list[str]) -> list[str]:
    """Names without what torch.compile, activation checkpointing, FSDP1 and DDP put in."""
    wrappers = r"(?:_orig_mod|_checkpoint_wrapped_module|_fsdp_wrapped_module)\."
    names = [re.sub(rf"(^|(?<=\.)){wrappers}", "", name) for name in names]
    if all(name.startswith("module.") for name in names):  # else it is the user's own name
        names = [name.removeprefix("module.") for name in names]
    return names


def _check_shape(name: str, parameter: nn.Parameter) -> None:
    if is_lazy(parameter):
        raise ValueError(f"parameter {name!r} has no shape yet: run a batch through its lazy module first")
    if getattr(parameter, "_fsdp_flattened", False):
        raise ValueError(
            f"parameter {name!r} was flattened by FSDP1, so that its role is lost: "
            "use FSDP2 (`fully_shard`, Lightning's ModelParallelStrategy), or ask before wrapping"
        )
    if hasattr(parameter, "ds_shape"):
        raise ValueError(
            f"parameter {name!r} is partitioned by DeepSpeed ZeRO-3, so that its role is lost: "
            "use FSDP2, or ask before wrapping"
        )
