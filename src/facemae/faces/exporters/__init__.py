"""Face sets in the forms that other tools read."""

from facemae.faces.exporters.card import CardFacts, card_facts, dataset_card, write_card
from facemae.faces.exporters.croissant import write_croissant
from facemae.faces.exporters.folder import export_folder
from facemae.faces.exporters.insightface_bin import export_bin
from facemae.faces.exporters.parquet import export_parquet
from facemae.faces.exporters.recordio import export_recordio
from facemae.faces.exporters.webdataset import export_webdataset

__all__ = [
    "CardFacts",
    "card_facts",
    "dataset_card",
    "export_bin",
    "export_folder",
    "export_parquet",
    "export_recordio",
    "export_webdataset",
    "write_card",
    "write_croissant",
]
