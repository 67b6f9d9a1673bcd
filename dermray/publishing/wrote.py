"""What a task wrote of a shard: its files, and what their images' headers told."""

import json
from collections import Counter
from dataclasses import dataclass, field

from dermray.publishing.encoded import encoded
from dermray.publishing.files import Written


@dataclass
class Wrote:
    """Of one shard; `merge` adds others up."""

    files: list[Written] = field(default_factory=list)
    endings: Counter[str] = field(default_factory=Counter)  # images by the ending of their names
    sizes: Counter[str] = field(default_factory=Counter)  # bytes of images by split, as it is called outside
    positions: int = 0  # images whose EXIF says where they were taken
    turns: Counter[str] = field(default_factory=Counter)  # questions with their answers, by split

    def image(self, image: bytes, split: str) -> str:
        """Count an image; the ending of its name."""
        header = encoded(image)
        self.endings[header.ending] += 1
        self.sizes[split] += len(image)
        self.positions += header.has_position
        return header.ending

    def merge(self, other: "Wrote") -> None:
        """Add another's."""
        self.files += other.files
        self.endings.update(other.endings)
        self.sizes.update(other.sizes)
        self.positions += other.positions
        self.turns.update(other.turns)

    def note(self) -> bytes:
        """For a later run, which goes on from here."""
        return json.dumps(vars(self)).encode()

    @classmethod
    def of_note(cls, note: bytes) -> "Wrote":
        """What `note` said."""
        said = json.loads(note)
        files = [Written(*file) for file in said["files"]]
        turns = Counter(said.get("turns", {}))  # earlier versions counted none
        return cls(files, Counter(said["endings"]), Counter(said["sizes"]), said["positions"], turns)
