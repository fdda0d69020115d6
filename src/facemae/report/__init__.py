"""Results to people: one HTML page, one Markdown file, and the figures in both. Nothing is computed here."""

from facemae.report.audit_comparison import comparison_markdown
from facemae.report.audit_page import write_audit_report
from facemae.report.audit_utility import UtilityPoint, utility_points
from facemae.report.figures import accuracy_figure, leakage_figure, loss_figure, plane_figure
from facemae.report.html import Box, PictureGrid, report_html, write_report
from facemae.report.markdown import results_markdown
from facemae.report.reproduction import reproduction_markdown

__all__ = [
    "Box",
    "PictureGrid",
    "UtilityPoint",
    "accuracy_figure",
    "comparison_markdown",
    "leakage_figure",
    "loss_figure",
    "plane_figure",
    "report_html",
    "reproduction_markdown",
    "results_markdown",
    "utility_points",
    "write_audit_report",
    "write_report",
]
