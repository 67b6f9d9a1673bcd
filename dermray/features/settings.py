"""Which network's features stand for images. Apart from the networks, which take seconds to import."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dermray.config import Config, ConfigError
from dermray.result_fields import ResultOf

Kind = Literal["judge", "inception", "dinov2", "clip", "timm", "classifier"]


class ExtractorConfig(Config):
    """A network, and where its weights are."""

    kind: Kind = Field(
        "judge",
        description="judge: a small network trained on the run's own images; inception: torch-fidelity's; dinov2, "
        "clip: a transformers folder; timm: any backbone; classifier: a result of the classify stage, such as an "
        "Inception fine-tuned on the real train split",
    )
    weights: Annotated[str, ResultOf("classify")] | None = Field(
        None,
        description="file, directory, s3:// URI, hub id, package:<package>/<file>, timm for those of timm's own tag, "
        "or the classifier's result",
    )
    name: str | None = Field(None, description="of timm, with or without a pretrained tag, for kind timm")
    revision: str | None = Field(None, description="of a hub id; or the fingerprint that the files must have")

    @model_validator(mode="after")
    def _fields_of_the_kind(self) -> Self:
        if self.kind == "judge":
            if given := [field for field in ("weights", "name", "revision") if getattr(self, field) is not None]:
                raise ConfigError(
                    f"{given[0]}={getattr(self, given[0])}: a judge is trained by the run and takes none; leave it "
                    "out, or give another kind"
                )
        elif self.weights is None:
            raise ConfigError(f"weights: kind {self.kind} needs its weights; {EXPECTED[self.kind]}")
        if self.kind == "timm" and self.name is None:
            raise ConfigError("name: kind timm needs the network's name, such as tf_efficientnet_lite0")
        if self.kind != "timm" and self.name is not None:
            raise ConfigError(f"name={self.name}: only kind timm takes a name, not {self.kind}; leave it out")
        return self


EXPECTED = {  # what `weights` is of each kind
    "inception": "give torch-fidelity's file, weights-inception-2015-12-05-6726825d.pth",
    "dinov2": "give a transformers folder, an s3:// URI of one or a hub id, such as facebook/dinov2-base",
    "clip": "give a transformers folder, an s3:// URI of one or a hub id, such as openai/clip-vit-base-patch32",
    "timm": "give a file, a directory, an s3:// URI, a hub id, package:<package>/<file>, or timm",
    "classifier": "give a result of the classify stage",
}
