"""ASAN (Han et al. 2018, doi:10.1016/j.jid.2018.01.028): the test set of the Asan Medical Center, clinical, Korea.

Close-ups of twelve benign and malignant tumours. Published at figshare (file 9328573 of 5406223) as a ZIP file whose
folder `test-asan test` holds `biopsy`, with a folder per diagnosis named without spaces
(basalcellcarcinoma/bcc2_865.JPG). The training set was published as thumbnails alone. It is a test set: the preset says
`split: test`.

It lacks patients, ages, sexes, sites, tones and, here, the licence: look at
https://figshare.com/articles/code/Caffemodel_files_and_Python_Examples/5406223.
"""

from dermray.datasets import labelled_folders
from dermray.datasets.sources import Reading

TOLD = {"modality": "clinical", "licence": None}


class SourceConfig(labelled_folders.FoldersConfig):
    """The folder that holds a folder per diagnosis."""


def read(config: SourceConfig) -> Reading:
    """All images."""
    return labelled_folders.read(config, TOLD)
