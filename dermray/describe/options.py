"""What `dermray describe` takes; apart from the rest, because the command line of every stage is made of this."""

import argparse

FILES = {"csv": "table.csv", "json": "describe.json", "page": "describe.html"}


def options(command: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    command.add_argument("result", help="result of ingest, caption or generate, local or s3://")
    command.add_argument("--by-split", action="store_true", help="print a line for each source and split")
    command.add_argument(
        "--output", metavar="DIR", help="directory for page, CSV and JSON; default: ./<name of the result>-describe"
    )
    for name, file in FILES.items():
        command.add_argument(
            f"--{name}", metavar="FILE", help=f"write {file} here; only the files named by such options are written"
        )
