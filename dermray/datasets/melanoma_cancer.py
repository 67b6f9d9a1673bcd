"""Kaggle's "Melanoma Cancer Image Dataset" (bhaveshmittal, 2024): benign and malignant, dermoscopic, 224 px.

11,879 images to train (6,289 benign, 5,590 malignant) and 2,000 to test. Published as train and test, each with the
folders Benign and Malignant. Test is kept as the official split.

Where its images come from it does not say, so Kaggle's CC0 may not be its uploader's to give: rows have no licence.
What is malignant or benign is not said either. Ingest it beside ISIC's sets, so that near duplicates find their copies.
It lacks everything but two classes. From https://www.kaggle.com/datasets/bhaveshmittal/melanoma-cancer-dataset.
"""

from dermray.datasets import labelled_folders
from dermray.datasets.sources import Reading

TOLD = {"modality": "dermoscopic", "licence": None}


class SourceConfig(labelled_folders.FoldersConfig):
    """The folder that holds train and test."""


def read(config: SourceConfig) -> Reading:
    """All images."""
    return labelled_folders.read(config, TOLD)
