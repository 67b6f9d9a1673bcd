"""Entry point for `ray job submit --working-dir . -- python jobs/compare_paper.py --config <file or preset> ...`.

Outputs must be absolute paths that all nodes share, or s3:// URIs: a job's own directory is thrown away.
"""

import sys

from dermray.cli import main

if __name__ == "__main__":
    main(["compare-paper", *sys.argv[1:]])
