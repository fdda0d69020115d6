"""Traces that a release carries beside its pixels, one file a kind; `facemae.faces.metadata` puts them together."""

from facemae.faces.traces.carried import carried
from facemae.faces.traces.collection import Collection, linked_records, open_collection
from facemae.faces.traces.finding import Check, Finding, Instrument, Severity, Test
from facemae.faces.traces.item import Item

__all__ = [
    "Check",
    "Collection",
    "Finding",
    "Instrument",
    "Item",
    "Severity",
    "Test",
    "carried",
    "linked_records",
    "open_collection",
]
