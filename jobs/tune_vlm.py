"""Run `ray job submit --working-dir . -- python jobs/tune_vlm.py --config <file or preset> [key=value ...]`.

Outputs must be absolute paths that all nodes share, or s3:// URIs: a job's own directory is thrown away.
"""

import sys

from dermray.cli import main

if __name__ == "__main__":
    main(["tune-vlm", *sys.argv[1:]])
