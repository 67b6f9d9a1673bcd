"""Whose images these are: rows' `source` to the data set's name and page. Licences that ask for credit need it."""

from typing import NamedTuple


class Origin(NamedTuple):
    """A published data set."""

    name: str
    url: str


_CHALLENGE = "https://challenge.isic-archive.com/data/"
ORIGINS = {
    "ham10000": Origin("HAM10000 (Tschandl, Rosendahl, Kittler 2018)", "https://doi.org/10.7910/DVN/DBW86T"),
    "isic_2016": Origin("ISIC 2016 challenge (Gutman et al. 2016)", f"{_CHALLENGE}#2016"),
    "isic_2017": Origin("ISIC 2017 challenge (Codella et al. 2018)", f"{_CHALLENGE}#2017"),
    "isic_2018": Origin("ISIC 2018 challenge (Codella et al. 2019; HAM10000)", f"{_CHALLENGE}#2018"),
    "isic_2019": Origin("ISIC 2019 challenge (HAM10000, BCN20000, MSK)", f"{_CHALLENGE}#2019"),
    "isic_2020": Origin("ISIC 2020 challenge (Rotemberg et al. 2021)", f"{_CHALLENGE}#2020"),
    "isic_2024": Origin("ISIC 2024, SLICE-3D (Kurtansky et al. 2024)", f"{_CHALLENGE}#2024"),
    "isic_archive": Origin("ISIC archive", "https://www.isic-archive.com"),
    "bcn20000": Origin("BCN20000 (Hernandez-Perez et al. 2024)", "https://doi.org/10.6084/m9.figshare.24140028"),
    "derm12345": Origin("DERM12345 (Yilmaz et al. 2024)", "https://doi.org/10.7910/DVN/DAXZ7P"),
    "hiba": Origin("HIBA skin lesions (Ricci Lara et al. 2023)", "https://api.isic-archive.com/doi/hiba-skin-lesions/"),
    "milk10k": Origin("MILK10k", f"{_CHALLENGE}#milk10k"),
    "pad_ufes_20": Origin("PAD-UFES-20 (Pacheco et al. 2020)", "https://doi.org/10.17632/zr7vgbcyr2.1"),
    "fitzpatrick17k": Origin("Fitzpatrick17k (Groh et al. 2021)", "https://github.com/mattgroh/fitzpatrick17k"),
    "ddi": Origin("Diverse Dermatology Images (Daneshjou et al. 2022)", "https://ddi-dataset.github.io"),
    "derm7pt": Origin("derm7pt (Kawahara et al. 2019)", "https://derm.cs.sfu.ca"),
    "scin": Origin("SCIN (Ward et al. 2024)", "https://github.com/google-research-datasets/scin"),
    "mednode": Origin("MED-NODE (Giotis et al. 2015)", "https://www.cs.rug.nl/~imaging/databases/melanoma_naevi/"),
    "melanoma_10000": Origin(
        "Kaggle, melanoma skin cancer dataset of 10000 images",
        "https://www.kaggle.com/datasets/hasnainjaved/melanoma-skin-cancer-dataset-of-10000-images",
    ),
    "melanoma_cancer": Origin(
        "Kaggle, melanoma cancer dataset", "https://www.kaggle.com/datasets/bhaveshmittal/melanoma-cancer-dataset"
    ),
    "mclass": Origin("MClass (Brinker et al. 2019)", "https://skinclass.de/mclass/"),
    "asan": Origin(
        "ASAN test set (Han et al. 2018)",
        "https://figshare.com/articles/code/Caffemodel_files_and_Python_Examples/5406223",
    ),
}
# Made here: nobody is shown.
MADE = {
    "phantom": Origin("drawn phantoms of dermray", ""),
    "synthetic": Origin("synthetic images, drawn by a generator", ""),
}


def is_own(source: str) -> bool:
    """Whether rows are neither of a published data set nor made: their names may be patients'."""
    return source not in ORIGINS and source not in MADE
