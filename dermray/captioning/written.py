"""Which rows a resumed job has written already, for Ray Data's filter in front of it: 8 bytes an id, once a node.

Ray Data (2.60) itself sorts the ids as Python strings, and each of its filters, up to ten, holds a copy of them: see
benchmarks/results/scale_of_captioning.md. Hashes are numbers, which all processes of a node read in one place.
"""

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray
from ray.data.checkpoint.checkpoint_filter import CheckpointFilter, CheckpointManager

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
        hashes, size = _sorted_hashes.remote(self.checkpoint_path_unwrapped, self.filesystem, self.id_column)
        known = ray.get(size)
        return (hashes, known) if known else (None, 0)


class NotWritten(CheckpointFilter):
    """Lets rows pass whose ids are not among the hashes."""

    def __init__(self, config: Any, written: "ray.ObjectRef[np.ndarray]") -> None:
        super().__init__(config, written)
        self.written = ray.get(written)

    def filter_rows_for_block(self, block: pa.Table) -> pa.Table:
        """The rows of `block` that are to be done."""
        import numpy as np

        wanted = _hashes(block[self.id_column])
        places = np.minimum(np.searchsorted(self.written, wanted), len(self.written) - 1)
        return block.filter(pa.array(self.written[places] != wanted))


@ray.remote(num_cpus=0, num_returns=2)
def _sorted_hashes(path: str, system: Any, id_column: str) -> tuple["np.ndarray", int]:
    import numpy as np
    import pyarrow.dataset

    files = pyarrow.dataset.dataset(path, filesystem=system, format="parquet")
    ahead = {"batch_size": 1 << 15, "batch_readahead": 4, "fragment_readahead": 16}
    columns = [id_column] if files.files else []
    parts = [_hashes(batch[id_column]) for batch in files.to_batches(columns=columns, **ahead)]
    hashes = np.sort(np.concatenate([np.empty(0, "uint64"), *parts]))
    return hashes, hashes.nbytes


def _hashes(ids: pa.Array | pa.ChunkedArray) -> "np.ndarray":
    """64 bits of each id. Two of 10^7 have the same with a chance of 3e-6; the job's end would tell."""
    from pandas.util import hash_array

    names = ids.to_numpy() if isinstance(ids, pa.ChunkedArray) else ids.to_numpy(zero_copy_only=False)
    return hash_array(names, categorize=False)
