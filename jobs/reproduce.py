"""Run `ray job submit --working-dir . -- python jobs/reproduce.py NAME --scale paper output=... [key=value ...]`.

Outputs must be absolute paths that all nodes share, or s3:// URIs: a job's own directory is thrown away.
"""

import sys

from dermray.cli import main

if __name__ == "__main__":
    main(["reproduce", *sys.argv[1:]])
