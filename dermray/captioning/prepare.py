"""Before the engine: is the image one, which pixels are shown, what is asked."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa

from dermray.captioning import prompts
from dermray.datasets.decode import BadImage, portable

ASKED = (("shown", pa.binary()), ("question", pa.string()), ("unreadable", pa.string()))
NO_IMAGE = "no image"  # why such a row is not asked about


class Prepare:
    """Adds to a table of rows the encoded image that is `shown`, the `question`, and why an image is `unreadable`."""

    def __init__(self, prompt_set: str, image_side: int) -> None:
        self.prompt_set, self.image_side = prompt_set, image_side

    def __call__(self, table: pa.Table) -> pa.Table:
        """The table with the columns of ASKED."""
        return with_questions(table, lambda row: prompts.render(self.prompt_set, row), self.image_side)


def with_questions(table: pa.Table, question: Callable[[dict[str, Any]], str], side: int) -> pa.Table:
    """A table of rows with the columns of ASKED; `question` says what is asked about a row."""
    rows = table.to_pylist()
    looked = [shown(row["image"], side) for row in rows]
    columns = ([image for image, _ in looked], [question(row) for row in rows], [reason for _, reason in looked])
    for (name, kind), column in zip(ASKED, columns, strict=True):
        table = table.append_column(name, pa.array(column, kind))
    return table


def shown(image: bytes | None, side: int) -> tuple[bytes | None, str | None]:
    """What the engine gets to see, or why it gets nothing: an image that it decodes to our pixels, at most `side` px.

    A 12-megapixel photograph would cost the engine's process a tenth of a second to decode, for a model that looks
    at a few hundred pixels.
    """
    if image is None:
        return None, NO_IMAGE
    try:
        return portable(image, side), None
    except BadImage as error:
        return None, str(error)
