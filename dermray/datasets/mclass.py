"""MClass (Brinker et al. 2019, doi:10.1016/j.ejca.2018.12.016): two test sets that 157 and 145 dermatologists answered.

MClass-D has 100 dermoscopic images of the ISIC archive under their names, MClass-ND 100 clinical ones of MED-NODE: 80
nevi and 20 melanomas that a biopsy proved, each. Published as MClass-D.zip (BenchmarkDermoscopic/benign and malign) and
MClass-ND, a ZIP file without an extension (BenchmarkClinical/benign and malignant). The dermatologists' answers
(ResultsDermoscopic.xlsx, ResultsClinical.xlsx) are not read. Both are test sets: the preset says `split: test`.

Their images lie in the training sets of others: ingest them together, so that near duplicates leave those. It lacks
patients, ages, sexes, sites, tones and a licence of its own. From https://skinclass.de/mclass/.
"""

from typing import Literal

from dermray.datasets import labelled_folders
from dermray.datasets.sources import Reading

FOLDERS = {"dermoscopic": "MClass-D", "clinical": "MClass-ND"}


class SourceConfig(labelled_folders.FoldersConfig):
    """The folder BenchmarkDermoscopic or BenchmarkClinical, and which of them it is."""

    modality: Literal["dermoscopic", "clinical"]


def read(config: SourceConfig) -> Reading:
    """All images of one of the two. Their names are told apart by the set's."""
    told = {"modality": config.modality, "licence": None}
    return labelled_folders.read(config, told, prefix=f"{FOLDERS[config.modality]}/")
