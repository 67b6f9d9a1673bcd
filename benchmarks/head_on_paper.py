"""What a head node and a fleet of captioning GPUs need: measured figures times counts, nothing is run.

    python -m benchmarks.head_on_paper

Prints the first two tables of "On paper" in docs/scaling.md. Memory is what benchmarks.scale_of_captioning and
benchmarks.end_of_captioning measured, in blocks of 256 rows; the rate of a GPU is the published one of
benchmarks.papers_on_paper.
"""

from benchmarks.papers_on_paper import CAPTION, answer_hours, markdown
from dermray.planning.head import head
from dermray.planning.told import hours_told

REQUESTS = 0.090  # to S3, a row that is captioned: docs/scaling.md
IN_FLIGHT = 2 * 256  # rows an engine, which a crash costs


def head_table(images: tuple[int, ...] = (1_000_000, 10_000_000)) -> str:
    """Markdown."""
    columns = {
        "driver": "driver", "GCS": "gcs", "driver at the end": "end", "comparison of ids, a task": "comparison",
        "ids of a resume, a node": "resume",
    }  # fmt: skip
    names, rows = ["images", "blocks", *columns], list[list[str]]()
    for count in images:
        of = head(count)
        rows.append([f"{count:,}", f"{of.blocks:,}", *(f"{getattr(of, part):.0f}" for part in columns.values())])
    return markdown(names, rows)


def fleet_table(sizes: tuple[int, ...] = (10, 100, 1000)) -> str:
    """Markdown: what captioning GPUs of the published rate ask for."""
    rate = 1 / (3600 * answer_hours(1, CAPTION)["H200"])
    rows = [
        [f"{gpus:,}", f"{gpus * rate:,.0f}", f"{gpus * rate * REQUESTS:,.0f}", f"{IN_FLIGHT * gpus:,}",
         *(hours_told(images / gpus / rate / 3600) for images in (1_000_000, 10_000_000))]
        for gpus in sizes
    ]  # fmt: skip
    names = ["GPUs", "captions/s", "requests to S3/s", "rows in flight", "hours of 1,000,000", "hours of 10,000,000"]
    return markdown(names, rows)


def main() -> None:
    """Both tables."""
    print(head_table(), fleet_table(), sep="\n\n")


if __name__ == "__main__":
    main()
