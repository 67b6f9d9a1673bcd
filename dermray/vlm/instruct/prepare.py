"""Before the engine: is the image one, which pixels are shown, what is asked."""

from collections.abc import Sequence

import pyarrow as pa

from dermray.captioning.prepare import with_questions
from dermray.vlm.instruct.prompt import prompt_of


class Prepare:
    """Adds the columns of `captioning.prepare.ASKED` to a table of rows.

    Args:
        columns: metadata that the model is told.
    """

    def __init__(self, columns: Sequence[str], image_side: int) -> None:
        self.columns, self.image_side = tuple(columns), image_side

    def __call__(self, table: pa.Table) -> pa.Table:
        """The table with the columns of ASKED."""
        return with_questions(table, lambda row: prompt_of(row, self.columns), self.image_side)
