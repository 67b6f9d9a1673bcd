"""The second round: the engine is asked again about rows that the first one wrote, and `<data>/second/rows` says what
came of it, without images (self_instruct.CANDIDATES). `whole_set` judges that and puts both rounds together."""

from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from dermray import records, storage
from dermray.captioning import asking, choose
from dermray.captioning.asking import Asked, Round
from dermray.captioning.ledger import Ledger
from dermray.captioning.models import Captioner
from dermray.records import IMAGES
from dermray.vlm.instruct import self_instruct
from dermray.vlm.instruct.self_instruct import CANDIDATES, SelfInstructConfig
from dermray.vlm.instruct.settings import InstructConfig
from dermray.vlm.instruct.similarity import revision_of, similarity
from dermray.vlm.instruct.whole_set import FIRST, SECOND


@dataclass(frozen=True)
class Chosen:
    """Filter of the rows that are asked again: usable ones, all or those with small ids."""

    below: str | None

    def __call__(self, status: Any) -> Any:
        """Over pyarrow's or Ray Data's column, as `Asked.wanted` has it."""
        if self.below is None:
            return status == "ok"
        if isinstance(status, pc.Expression):
            return (status == "ok") & (pc.field("sample_id") < self.below)
        from ray.data.expressions import col

        return (status == "ok") & (col("sample_id") < self.below)


def identity(config: SelfInstructConfig) -> dict[str, str]:
    """What the round's outcome depends on beside its settings; looks at the embedding's files."""
    return {
        "self_instruct_version": self_instruct.version(config),
        "embedding_revision": str(revision_of(config.similarity)),
    }


def ask(data: str, captioner: Captioner, config: InstructConfig) -> None:
    """Ask again, going on from what an earlier start wrote, and prove that each row was asked about once.

    Raises:
        ValueError, ConnectionError, RuntimeError: as `asking.ask` does.
    """
    assert config.self_instruct is not None
    first, second = storage.join(data, FIRST, "rows"), storage.join(data, SECOND)
    usable = records.count_rows(first, pc.field("status") == "ok")
    if not usable:
        return
    chosen = _chosen(config.self_instruct, usable)
    columns = [*(name for name in IMAGES.names if name != "image"), "pairs"]  # none that an answer has too
    answer = choose.prepared(captioner.model, config.host.model_copy(update=captioner.settings))
    ledger, number = Ledger(storage.join(second, "ledger")), records.count_rows(first, chosen(pc.field("status")))
    asked = Asked(first, chosen, columns)
    asking.each_once(asked, second, captioner, answer, ledger, _round(config), config, number)


def _chosen(config: SelfInstructConfig, usable: int) -> Chosen:
    if config.images is None or config.images >= usable:
        return Chosen(None)
    return Chosen(f"{int(config.images / usable * 16**8):08x}")


def _round(config: InstructConfig) -> Round:
    assert config.self_instruct is not None
    asked, most = config.self_instruct, config.most_characters
    measure = similarity(asked.similarity, revision_of(asked.similarity))
    return Round(
        self_instruct.Prepare(config.context, asked, config.image_side),
        self_instruct.schema(asked, most, config.one_sentence),
        self_instruct.Finish(config.context, asked, config.near_duplicate, most, measure),
        CANDIDATES,
        "asked a second time",
    )
