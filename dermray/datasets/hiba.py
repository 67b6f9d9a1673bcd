"""HIBA (Ricci Lara et al. 2023, doi:10.1038/s41597-023-02630-0): dermoscopic and clinical, Buenos Aires, CC BY 4.0.

Hospital Italiano de Buenos Aires, 2019 to 2022: a collection of the ISIC archive with patients, lesions and, for many,
Fitzpatrick types. Published in the archive's form: metadata.csv beside the images, as `isic image download
--collections` writes it (its number: `isic collection list`), or hiba-skin-lesions.csv and .zip at its DOI. The words
are the archive's: see `isic_archive`, which reads it.

It lacks a split; both kinds of image of one lesion share its lesion_id. From
https://api.isic-archive.com/doi/hiba-skin-lesions/.
"""

from dermray.datasets import isic_archive
from dermray.datasets.isic_archive import OPTIONAL, REQUIRED, opened, read, to_row

__all__ = ["OPTIONAL", "REQUIRED", "SourceConfig", "opened", "read", "to_row"]


class SourceConfig(isic_archive.SourceConfig):
    """Where the table and the images lie: beside each other."""

    images: str | list[str] = "."
