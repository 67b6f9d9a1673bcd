"""Who signs images, and where they go. Apart from what signs, whose library is an extra."""

from typing import Literal, Self

from pydantic import Field, model_validator

from dermray import storage
from dermray.config import Config, ConfigError

Algorithm = Literal["es256", "es384", "es512", "ps256", "ps384", "ps512", "ed25519"]  # C2PA 2.2, section 13.2.1


class SigningConfig(Config):
    """A certificate and where its private key is: the key itself never stands in a config."""

    certificate: str = Field(description="PEM file: the signer's certificate first, then those that vouch for it")
    key: str | None = Field(None, description="PEM file of the private key")
    key_variable: str | None = Field(None, description="or the environment variable that holds the PEM text")
    algorithm: Algorithm | None = Field(None, description="by the key if none: its curve's, or ps256 for RSA")
    timestamp_authority: str | None = Field(
        None, pattern="^https?://", description="URL (RFC 3161) asked once an image: signatures outlive the certificate"
    )

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        for name in ("certificate", "key", "key_variable"):
            if "-----" in (getattr(self, name) or ""):  # not repeated: it may be the secret
                raise ConfigError(f"{name}: holds PEM text; expected the name of a file, or of an environment variable")
        if (self.key is None) == (self.key_variable is None):
            got = "neither" if self.key is None else "both"
            raise ConfigError(f"key: expected either `key` (a file) or `key_variable`; got {got}")
        return self

    def with_absolute_paths(self) -> "SigningConfig":
        """For processes that work in another directory."""
        paths = {"certificate": self.certificate} | ({"key": self.key} if self.key else {})
        return self.model_copy(update={name: storage.normalise(path) for name, path in paths.items()})


class ExportConfig(Config):
    """Which images leave, to where, and who signs them."""

    images: str = Field(description="result of the generate stage")
    output: str = Field(description="new directory or s3:// URI")
    provenance: SigningConfig | None = Field(None, description="who signs; without it, files have text alone")
    threads: int = Field(4, ge=1, le=64, description="that sign and write at once")
