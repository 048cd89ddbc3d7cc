"""Callbacks: parts of the objective for any module, schedules, decisions and an audit of labels."""

from lightning_losses.callbacks.decide import Decide as Decide
from lightning_losses.callbacks.label_audit import LabelAudit as LabelAudit
from lightning_losses.callbacks.objective import Constraints as Constraints
from lightning_losses.callbacks.objective import ObjectiveMonitor as ObjectiveMonitor
from lightning_losses.callbacks.objective import Regularizers as Regularizers
from lightning_losses.callbacks.schedule import Schedule as Schedule

__all__ = ["Constraints", "Decide", "LabelAudit", "ObjectiveMonitor", "Regularizers", "Schedule"]
