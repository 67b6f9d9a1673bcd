"""The memory that a head node needs for a caption job: what was measured a block or a row, times their number.

Measured by benchmarks.scale_of_captioning and benchmarks.end_of_captioning, in blocks of 256 rows: see docs/scaling.md.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Head:
    """Of a caption job of so many images. MiB."""

    blocks: int
    driver: float
    gcs: float
    end: float  # of the driver's process at the end of the job, and of the task that compares ids
    comparison: float
    resume: float  # of ids, on each node


def head(images: int, rows_per_block: int = 256) -> Head:
    """A measured figure times a count each; measured up to 5,000,000 images, and the end of a job up to 3,000,000."""
    blocks, mib = -(-images // rows_per_block), 2**20
    driver = 168 + (61 * min(blocks, 2000) + 20 * max(blocks - 2000, 0)) / 1024
    beyond = images - 3_000_000
    return Head(
        blocks, driver, 30 + 12 * blocks / 1024, 184 + 3.1 * beyond / mib, 212 + 9.4 * beyond / mib, 8 * images / mib
    )
