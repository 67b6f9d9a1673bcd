"""MED-NODE (Giotis et al. 2015, doi:10.1016/j.eswa.2015.04.034): clinical photographs of melanomas and nevi, Groningen.

70 melanomas and 100 nevi out of the archive of the University Medical Center Groningen. Published as
complete_mednode_dataset.zip: the folders melanoma and naevus with JPEG files. No licence is stated.

It lacks patients, lesions, ages, sexes, sites, tones and a split. MClass has 100 of its images (`mclass`): ingest both
in one config. From https://www.cs.rug.nl/~imaging/databases/melanoma_naevi/.
"""

from dermray.datasets import labelled_folders
from dermray.datasets.sources import Reading

TOLD = {"modality": "clinical", "licence": None}


class SourceConfig(labelled_folders.FoldersConfig):
    """The folder that holds melanoma and naevus."""


def read(config: SourceConfig) -> Reading:
    """All images."""
    return labelled_folders.read(config, TOLD)
