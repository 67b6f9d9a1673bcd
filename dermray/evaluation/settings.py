"""What an evaluation may be told. Apart from what measures, which takes seconds to import."""

from pydantic import Field

from dermray.config import Config


class EvaluationConfig(Config):
    """What to compare, and how the judge is trained."""

    output: str
    rows: str = Field(description="result of the caption stage: the real rows")
    synthetic: str = Field(description="result of the generate stage")
    judge_phantoms: int = Field(4000, ge=100, description="fresh phantoms that the judge of phantoms learns from")
    judge_steps: int = Field(500, ge=10)
    max_images: int = Field(2000, ge=10, description="of each kind, the first by sample id")
    pairs: int = Field(200, ge=1, description="for MS-SSIM")
    cpus: float = Field(2, gt=0)
    seed: int = Field(0, ge=0)
