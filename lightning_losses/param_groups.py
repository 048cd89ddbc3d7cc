"""Optimizer groups: every trainable parameter in exactly one, weight decay only where it belongs."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import nn

from lightning_losses._validation import choice, finite_non_negative, in_interval, unknown_arguments
from lightning_losses.parameters import EXEMPT, ROLES, Entry, find_entries, match

Group: TypeAlias = dict[str, Any]


def param_groups(
    module: nn.Module,
    weight_decay: float = 0.01,
    exempt: Sequence[str] = EXEMPT,
    rules: Mapping[str, Mapping[str, float]] | None = None,
    *,
    lr: float | None = None,
    layer_decay: float | None = None,
    roles: Mapping[str, str] | None = None,
) -> list[Group]:
    """Divide the trainable parameters into the named groups that an optimizer takes.

    The groups `decay` and `no_decay` come first and always in this order, even if one is empty: a checkpoint then still
    fits when the decay changes. Each rule adds its own `<rule>/decay` and `<rule>/no_decay`. A rule's weight decay
    does not reach exempt roles, unless the rule takes nothing else, as in `{"bias": {"weight_decay": 1e-5}}`.

    Args:
        module: Any module.
        weight_decay: Decay of the parameters whose role is not exempt, at least 0.
        exempt: Roles without decay.
        rules: Role or glob of the name -> `{"lr": ..., "weight_decay": ...}`, either or both; the first match wins.
        lr: Learning rate from which `layer_decay` starts.
        layer_decay: Factor in [0, 1] by which the learning rate shrinks from each block to the one below it. Instead of
            `decay` and `no_decay` the groups are `layer_0/decay`, `layer_0/no_decay`, ..., from the input to the
            output; the `lr` of a rule wins over it.
        roles: As for [`parameter_roles`][lightning_losses.parameter_roles].

    Returns:
        Dicts with `params`, `name`, `weight_decay`, and `lr` where a rule or `layer_decay` sets one.

    Raises:
        ValueError: If nothing is trainable, if a rule matches nothing or only what earlier rules take, or if a value
            is out of range.
        TypeError: If the rules or one of them are no mapping.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
        >>> groups = param_groups(net, weight_decay=0.1, rules={"2.*": {"lr": 0.01}})
        >>> [(group["name"], len(group["params"]), group["weight_decay"]) for group in groups]
        [('decay', 1, 0.1), ('no_decay', 3, 0.0), ('2.*/decay', 1, 0.1), ('2.*/no_decay', 1, 0.0)]
        >>> optimizer = torch.optim.AdamW(groups, lr=1e-3)

    Source:
        Layer-wise decay: J. Howard, S. Ruder, Universal Language Model Fine-tuning for Text Classification, 2018.
    """
    weight_decay = finite_non_negative("weight_decay", weight_decay)
    exempt = [choice("exempt", role, ROLES) for role in ([exempt] if isinstance(exempt, str) else exempt)]
    entries = find_entries(module, roles)
    if not any(entry.parameter.requires_grad for entry in entries):
        raise ValueError(f"{type(module).__name__} has no trainable parameters")

    ruled = _first_matches(entries, rules or {})
    taken = {entry.name for _, found, _ in ruled for entry in found}
    rest = [entry for entry in entries if entry.name not in taken]
    plain = [("", rest, {})] if layer_decay is None else _layers(module, rest, lr, layer_decay)

    groups = [group for part in [*plain, *ruled] for group in _decay_and_not(*part, weight_decay, exempt)]
    groups = [group for group in groups if group["params"] or group["name"] in ("decay", "no_decay")]
    check_cover(module, groups)
    return groups


_Part: TypeAlias = tuple[str, list[Entry], Mapping[str, float]]


def _decay_and_not(
    name: str, entries: list[Entry], settings: Mapping[str, float], weight_decay: float, exempt: Sequence[str]
) -> Iterator[Group]:
    decayed = [entry for entry in entries if entry.role not in exempt]
    if "weight_decay" in settings:
        decayed = decayed or entries
    names = {entry.name for entry in decayed}
    prefix = f"{name}/" if name else ""
    lr = {"lr": settings["lr"]} if "lr" in settings else {}
    for kind, decay in (("decay", settings.get("weight_decay", weight_decay)), ("no_decay", 0.0)):
        params = [e.parameter for e in entries if e.parameter.requires_grad and (e.name in names) == (kind == "decay")]
        yield {"params": params, "name": prefix + kind, "weight_decay": decay, **lr}


def _first_matches(entries: list[Entry], rules: Mapping[str, Mapping[str, float]]) -> list[_Part]:
    taken: set[str] = set()
    parts: list[_Part] = []
    if not isinstance(rules, Mapping):
        raise TypeError(f"rules must be a mapping of roles or globs, got {rules!r}")
    for where, settings in rules.items():
        if not isinstance(settings, Mapping):
            raise TypeError(f"the rule {where!r} must be a mapping of lr, weight_decay or both, got {settings!r}")
        unknown_arguments(f"the rule {where!r}", settings, ("lr", "weight_decay"))
        checked = {key: finite_non_negative(f"{key} of the rule {where!r}", value) for key, value in settings.items()}
        matching = match(entries, where)
        won = [entry for entry in matching if entry.name not in taken]
        if not won:
            reason = "what earlier rules take" if matching else "a role that no parameter has"
            raise ValueError(f"the rule {where!r} matches only {reason}")
        taken.update(entry.name for entry in won)
        parts.append((where, won, checked))
    return parts


def _layers(module: nn.Module, entries: list[Entry], lr: float | None, layer_decay: float) -> list[_Part]:
    layer_decay = in_interval("layer_decay", layer_decay, 0, 1)
    if lr is None:
        raise ValueError("layer_decay needs lr, the learning rate of the last block")
    blocks = list(_blocks(module))
    # From the output down, so that a tied parameter counts where it is first; the module's own tensors (class tokens,
    # position tables) belong to its input.
    layer = {id(p): index for index, block in reversed([*enumerate(blocks)]) for p in block.parameters()}
    return [
        (
            f"layer_{index}",
            [entry for entry in entries if layer.get(id(entry.parameter), 0) == index],
            {"lr": lr * layer_decay ** (len(blocks) - 1 - index)},
        )
        for index in range(max(len(blocks), 1))
    ]


def _owning_children(module: nn.Module) -> list[nn.Module]:
    return [child for child in module.children() if next(child.parameters(), None) is not None]


def _blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The blocks of a network from input to output: children, opened where they hold a stack of blocks themselves."""
    children = _owning_children(module)
    while len(children) == 1:
        module = children[0]
        children = _owning_children(module)
    if not children:
        yield module
    for child in children:
        if any(map(_is_stack, child.modules())):
            yield from _blocks(child)
        else:
            yield child


def _is_stack(module: nn.Module) -> bool:
    """A sequence of at least two parts that have parts themselves: ResNet's stages, a transformer's layers."""
    if not isinstance(module, (nn.Sequential, nn.ModuleList)):
        return False
    return sum(bool(_owning_children(child)) for child in module) > 1


def check_cover(module: nn.Module, groups: Iterable[Group]) -> None:
    """Check that every trainable parameter is in exactly one group.

    Args:
        module: The module that is optimized.
        groups: Optimizer groups, such as `optimizer.param_groups`.

    Raises:
        ValueError: If a trainable parameter is in no group or in several, or if a group holds a parameter that is not
            a trainable one of the module; all are named.

    Example:
        >>> from torch import nn
        >>> net = nn.Linear(2, 3)
        >>> check_cover(net, [{"params": [net.weight]}])
        Traceback (most recent call last):
        ValueError: in no optimizer group: bias
    """
    names = {id(parameter): name for name, parameter in module.named_parameters() if parameter.requires_grad}
    counts = Counter(id(parameter) for group in groups for parameter in group["params"])
    problems = {
        "in no optimizer group": [name for key, name in names.items() if key not in counts],
        "in several optimizer groups": [names.get(key, "?") for key, count in counts.items() if count > 1],
    }
    strangers = sum(key not in names for key in counts)
    lines = [f"{problem}: {', '.join(found)}" for problem, found in problems.items() if found]
    if strangers:
        lines.append(f"in the optimizer groups, but frozen or not of {type(module).__name__}: {strangers} tensors")
    if lines:
        raise ValueError("; ".join(lines))


def warn_of_double_decay(groups: Iterable[Group], penalized: Mapping[str, Iterable[nn.Parameter]]) -> None:
    """Warn, once, if parameters are pulled to zero both by a penalty and by the optimizer's weight decay.

    Args:
        groups: Optimizer groups, such as `optimizer.param_groups`.
        penalized: Name of a regularizer -> the parameters it acts on.
    """
    decayed = {id(p) for group in groups if group.get("weight_decay") for p in group["params"]}
    both = {name: sum(id(p) in decayed for p in parameters) for name, parameters in penalized.items()}
    found = ", ".join(f"{name!r} ({count} tensors)" for name, count in both.items() if count)
    if found:
        warnings.warn(
            f"weight_decay and a penalty act on the same parameters: {found}. Set the optimizer's weight_decay to 0, "
            "drop the penalty, or divide the parameters between them with `where` and `exempt`.",
            stacklevel=2,
        )


@dataclass(frozen=True)
class ParameterRow:
    """The parameters of one role in one optimizer group."""

    role: str
    group: str
    tensors: int
    numbers: int
    lr: float | None
    weight_decay: float | None


@dataclass(frozen=True)
class ParameterTable:
    """What [`describe_parameters`][lightning_losses.describe_parameters] returns: rows, and a table as `str`."""

    rows: list[ParameterRow]

    def __str__(self) -> str:
        header = ("role", "group", "tensors", "numbers", "lr", "weight decay")
        body = [
            (row.role, row.group, f"{row.tensors:,}", f"{row.numbers:,}", _short(row.lr), _short(row.weight_decay))
            for row in self.rows
        ]
        tensors, numbers = (sum(getattr(row, key) for row in self.rows) for key in ("tensors", "numbers"))
        cells = [header, *body, ("total", "", f"{tensors:,}", f"{numbers:,}", "", "")]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(
                text.ljust(width) if left else text.rjust(width)
                for text, width, left in zip(row, widths, (True, True, False, False, False, False), strict=True)
            ).rstrip()
            for row in cells
        ]
        rule = "-" * max(map(len, lines))
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def describe_parameters(
    module: nn.Module, groups: Iterable[Group] | None = None, roles: Mapping[str, str] | None = None
) -> ParameterTable:
    """Tabulate the parameters of a module by role and optimizer group.

    Args:
        module: Any module.
        groups: Optimizer groups, such as `optimizer.param_groups`; by default those of
            [`param_groups`][lightning_losses.param_groups], without learning rate and decay.
        roles: As for [`parameter_roles`][lightning_losses.parameter_roles].

    Returns:
        A table with `rows`; `str(table)` is ready to print. Parameters in no group are listed under `frozen`.

    Example:
        >>> from torch import nn
        >>> print(describe_parameters(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))))
        role    group     tensors  numbers  lr  weight decay
        ----------------------------------------------------
        weight  decay           1        6
        bias    no_decay        2        6
        norm    no_decay        1        3
        ----------------------------------------------------
        total                   4       15
    """
    entries = find_entries(module, roles)
    if groups is None:
        decays = {role: "no_decay" if role in EXEMPT else "decay" for role in ROLES}
        group_of = {id(e.parameter): Group(name=decays[e.role]) for e in entries if e.parameter.requires_grad}
    else:
        group_of = {id(parameter): group for group in groups for parameter in group["params"]}
    cells: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        group = group_of.get(id(entry.parameter), {"name": "frozen"})
        cells.setdefault((entry.role, group.get("name", "")), []).append(entry)
    rows = []
    for (role, name), found in sorted(cells.items(), key=lambda cell: ROLES.index(cell[0][0])):
        group = group_of.get(id(found[0].parameter), {})
        numbers = sum(entry.parameter.numel() for entry in found)
        rows.append(ParameterRow(role, name, len(found), numbers, group.get("lr"), group.get("weight_decay")))
    return ParameterTable(rows)
