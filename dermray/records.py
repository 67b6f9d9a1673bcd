"""The columns that pass between stages. One lesion image is one row; what is unknown is null, never a guess."""

import hashlib
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from dermray import s3
from dermray.row_files import RowFiles, row_files

COLOURS = ("white", "red", "light brown", "dark brown", "blue-gray", "black")  # the ABCD rule's six
SKIN_TONES = ("A", "B", "C")  # DDI's groups: Fitzpatrick I-II, III-IV, V-VI
ENTITIES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")  # HAM10000's seven
STRUCTURES = (  # of dermoscopy; the names of the revised pattern analysis
    "pigment network",
    "dots and globules",
    "streaks",
    "blue-white veil",
    "regression structures",
    "structureless area",
    "vascular structures",
    "milia-like cysts",
)
STATUSES = ("ok", "rejected", "failed")
SPLITS = ("train", "val", "test")
AT = " @ "  # parts what happened from where: "<kind> @ <file, line, value>"

ALLOWED: dict[str, tuple[str, ...]] = {
    "entity": (*ENTITIES, "other"),
    "modality": ("dermoscopic", "clinical"),
    "skin_tone": SKIN_TONES,
    "skin_tone_source": ("metadata", "estimated"),
    "sex": ("female", "male"),
    "origin": ("real", "synthetic"),
    "split": SPLITS,
    "status": STATUSES,
}

IMAGE_COLUMNS = [
    # encoded: as it was found where everyone sees the same in it, else a PNG of what datasets.decode shows. It is first
    # in files: a reader of other columns gets them with the footer, in one request to S3
    ("image", pa.binary()),
    ("sample_id", pa.string()),  # SHA-256 of the encoded bytes, hex
    ("width", pa.int32()),  # px, of the upright image
    ("height", pa.int32()),  # px
    ("modification", pa.string()),  # what the decoder changed in the original, as "orientation 6"; null if nothing
    ("original_id", pa.string()),  # SHA-256 of the source's own bytes, where `image` holds other ones; else null
    ("source", pa.string()),
    ("source_id", pa.string()),
    ("patient_id", pa.string()),
    ("lesion_id", pa.string()),
    ("leak_group", pa.string()),  # rows of one group never lie in two splits
    ("diagnosis", pa.string()),  # the source's own word
    ("entity", pa.string()),
    ("malignant", pa.bool_()),
    ("modality", pa.string()),
    ("fitzpatrick", pa.int8()),  # 1 to 6
    ("skin_tone", pa.string()),
    ("skin_tone_source", pa.string()),
    ("age", pa.float32()),  # years
    ("sex", pa.string()),
    ("site", pa.string()),
    ("licence", pa.string()),
    ("origin", pa.string()),
    ("split", pa.string()),
    ("status", pa.string()),
    ("reason", pa.string()),  # null when ok; `kind` counts it
    # cells of the source's table that were left null, with file, line, value; and why a skin tone was not estimated
    ("cell_issues", pa.list_(pa.string())),
]
# What a phantom's painter knows; null for photographs.
TRUTH_COLUMNS = [
    ("true_asymmetry", pa.bool_()),
    ("true_border_irregular", pa.bool_()),
    ("true_colours", pa.list_(pa.string())),
]
CAPTION_COLUMNS = [
    ("caption", pa.string()),  # metadata attributes joined with the answer: what generators learn from
    ("answer", pa.string()),  # the captioner's own words
    ("said_asymmetry", pa.bool_()),
    ("said_border_irregular", pa.bool_()),
    ("said_colours", pa.list_(pa.string())),
    ("said_skin_tone", pa.string()),
    ("said_structures", pa.list_(pa.string())),
    ("pairs", pa.list_(pa.struct([("question", pa.string()), ("answer", pa.string())]))),  # prompt set clinical-qa
    ("prompt_set", pa.string()),  # name@version
    ("prompt_hash", pa.string()),  # of the filled prompt
    ("captioner", pa.string()),  # manifest key, hub id or name of the model
    ("captioner_revision", pa.string()),  # commit or fingerprint of its weights
    ("sampling", pa.string()),  # JSON
    ("tokens_in", pa.int32()),  # the image's among them
    ("tokens_out", pa.int32()),
    ("finish_reason", pa.string()),  # stop, length, or thinking: cut before its answer began
    ("attempts", pa.int32()),  # requests sent for this row, over all runs
]
# Of the instruct stage: one row an image, with all that was asked about it. Text columns as in CAPTION_COLUMNS.
INSTRUCTION_PAIR = pa.struct(
    [
        ("question", pa.string()),
        ("answer", pa.string()),
        ("kind", pa.string()),  # general, specific (to modality and source) or self-instruct
        ("status", pa.string()),  # ok or rejected
        ("reason", pa.string()),  # null when ok
    ]
)
INSTRUCTION_COLUMNS = [
    ("pairs", pa.list_(INSTRUCTION_PAIR)),
    ("answer", pa.string()),  # the model's own words, whole
    ("prompt_set", pa.string()),
    ("prompt_hash", pa.string()),
    ("captioner", pa.string()),
    ("captioner_revision", pa.string()),
    ("sampling", pa.string()),
    ("tokens_in", pa.int32()),
    ("tokens_out", pa.int32()),
    ("finish_reason", pa.string()),
    ("attempts", pa.int32()),
]
PROVENANCE_COLUMNS = [
    ("plan_id", pa.string()),
    ("family", pa.string()),
    ("generator", pa.string()),  # manifest key of the checkpoint
    ("prompt", pa.string()),
    ("prompt_sample_id", pa.string()),  # training row whose caption was the prompt
    ("seed", pa.int64()),
    ("guidance_scale", pa.float32()),
    ("sampling_steps", pa.int32()),
    # Of the memorisation gate. Its distances are shares of the median distance to the other near training images.
    ("nearest_sample_id", pa.string()),  # nearest training image by pixels
    ("nearest_distance", pa.float32()),
    ("real_nearest_distance", pa.float32()),  # the threshold: few real held-out images lie below it
    ("embedded_sample_id", pa.string()),  # nearest training image by the gate's embedding
    ("embedded_distance", pa.float32()),
    ("real_embedded_distance", pa.float32()),
]

IMAGES = pa.schema([*IMAGE_COLUMNS, *TRUTH_COLUMNS])
CAPTIONED = pa.schema([*IMAGES, *CAPTION_COLUMNS])
INSTRUCTED = pa.schema([*IMAGES, *INSTRUCTION_COLUMNS])
SYNTHETIC = pa.schema([*IMAGES, *CAPTION_COLUMNS, *PROVENANCE_COLUMNS])


def sample_id(image: bytes) -> str:
    """SHA-256 of the encoded image's bytes: an image's name from its first row to its last."""
    return hashlib.sha256(image).hexdigest()


def conform(rows: list[dict[str, object]], schema: pa.Schema) -> pa.Table:
    """Rows as a table of exactly `schema`: missing columns are null, unknown ones refused.

    Raises:
        ValueError: a column that the schema lacks, or a value outside ALLOWED.
    """
    unknown = {name for row in rows for name in row} - set(schema.names)
    if unknown:
        raise ValueError(f"columns {sorted(unknown)}: expected only {schema.names}")
    table = pa.Table.from_pylist(rows, schema=schema)
    for name, allowed in ALLOWED.items():
        if name in schema.names:
            found = set(table[name].unique().to_pylist()) - {None, *allowed}
            if found:
                raise ValueError(f"{name}={sorted(found)}: expected one of {allowed} or null")
    return table


def read_columns(rows: str | RowFiles, columns: list[str], where: Any = None) -> pa.Table:
    """Some columns of a stage's Parquet files; `where` is a pyarrow dataset filter. Of `image` all is read, whatever
    the filter: see `picked`."""
    # as few chunks as may be: those of files without such a row are empty, and take kilobytes
    tables = [s3.again(scanner.to_table).combine_chunks() for scanner in row_files(rows).scanners(columns, where)]
    if not tables:
        raise FileNotFoundError(f"{rows}: no Parquet file there; make the result again")
    return pa.concat_tables(tables, promote_options="default")


def count_rows(rows: str | RowFiles, where: Any) -> int:
    """How many rows of a stage's Parquet files a pyarrow dataset filter lets pass."""
    return sum(s3.again(scanner.count_rows) for scanner in row_files(rows).scanners([], where))


def about(most: int, total: int) -> Any:
    """Filter for about `most` of `total` rows, always the same ones: those whose sample_id, a hash, is small."""
    if most >= total:
        return pc.field("sample_id").is_valid()
    return pc.field("sample_id") < f"{int(most / total * 16**8):08x}"


def kind(text: str) -> str:
    """What a reason or issue is counted by: itself without the place where it happened."""
    return text.partition(AT)[0]


def skin_tone_of(fitzpatrick: int | None) -> str | None:
    """DDI's group of a Fitzpatrick type 1 to 6."""
    return None if fitzpatrick is None else SKIN_TONES[(fitzpatrick - 1) // 2]
