"""Which rows a resumed job has written already, for Ray Data's filter in front of it: 8 bytes an id, once a node.

Ray Data (2.60) itself sorts the ids as Python strings, and each of its filters, up to ten, holds a copy of them: see
benchmarks/results/scale_of_captioning.md. Hashes are numbers, which all processes of a node read in one place.
"""

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray
from ray.data.checkpoint.checkpoint_filter import CheckpointFilter, CheckpointManager

from dermray.columns import batches
from dermray.exactly_once import hashes, sorted_hashes

if TYPE_CHECKING:
    import numpy as np


class WrittenIds(CheckpointManager):
    """Reads the checkpoint into one sorted array of hashes."""

    def load_checkpoint(
        self, data_file_dir: str | None = None, data_file_filesystem: Any = None
    ) -> tuple["ray.ObjectRef[np.ndarray] | None", int]:
        """The array in Ray's object store and its bytes, after blocks that were not committed are removed; None where
        nothing is written."""
        if data_file_dir is not None:
            self._clean_pending_checkpoints(data_file_dir, data_file_filesystem)
        path = self.checkpoint_path_unwrapped
        numbers, size = _sorted_hashes.remote(path if path.startswith("/") else f"s3://{path}", self.id_column)
        known = ray.get(size)
        return (numbers, known) if known else (None, 0)


class NotWritten(CheckpointFilter):
    """Lets rows pass whose ids are not among the hashes."""

    def __init__(self, config: Any, written: "ray.ObjectRef[np.ndarray]") -> None:
        super().__init__(config, written)
        self.written = ray.get(written)

    def filter_rows_for_block(self, block: pa.Table) -> pa.Table:
        """The rows of `block` that are to be done."""
        import numpy as np

        # two of 10^7 ids have the same hash with a chance of 3e-6; the job's end would tell
        wanted = hashes(block[self.id_column].combine_chunks())
        places = np.minimum(np.searchsorted(self.written, wanted), len(self.written) - 1)
        return block.filter(pa.array(self.written[places] != wanted))


@ray.remote(num_cpus=0, num_returns=2)
def _sorted_hashes(checkpoint: str, id_column: str) -> tuple["np.ndarray", int]:
    numbers = sorted_hashes(batch[id_column] for batch in batches(checkpoint, [id_column]))
    return numbers, numbers.nbytes
