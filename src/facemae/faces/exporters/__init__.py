"""Face sets in the forms that other tools read."""

from facemae.faces.exporters.folder import export_folder
from facemae.faces.exporters.webdataset import export_webdataset

__all__ = ["export_folder", "export_webdataset"]
