"""Kaggle's "Melanoma Skin Cancer Dataset of 10000 Images" (hasnainjaved, 2022): benign and malignant, dermoscopic.

9,605 images to train and 1,000 to test, of 300 px. Published as melanoma_cancer_dataset/train and test, each with the
folders benign and malignant (melanoma_0.jpg and so on). Test is kept as the official split.

Where its images come from it does not say, so Kaggle's CC0 may not be its uploader's to give: rows have no licence.
What is malignant or benign is not said either. Ingest it beside ISIC's sets, so that near duplicates find their copies.
It lacks everything but two classes. From
https://www.kaggle.com/datasets/hasnainjaved/melanoma-skin-cancer-dataset-of-10000-images.
"""

from dermray.datasets import labelled_folders
from dermray.datasets.sources import Reading

TOLD = {"modality": "dermoscopic", "licence": None}


class SourceConfig(labelled_folders.FoldersConfig):
    """The folder that holds train and test."""


def read(config: SourceConfig) -> Reading:
    """All images."""
    return labelled_folders.read(config, TOLD)
