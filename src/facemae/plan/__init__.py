"""A table to the stages it needs, run in order, skipped where finished, and published."""

from facemae.plan.cost import Cost, costs
from facemae.plan.jobs import Job, Plan
from facemae.plan.pool import run_side_by_side
from facemae.plan.sources import find_data, missing_data, read_table, scaled_tables, scales, without_data

__all__ = [
    "Cost",
    "Job",
    "Plan",
    "costs",
    "find_data",
    "missing_data",
    "read_table",
    "run_side_by_side",
    "scaled_tables",
    "scales",
    "without_data",
]
