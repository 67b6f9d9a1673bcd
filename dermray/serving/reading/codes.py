"""A reader's code: what a reader types to begin. It is kept as its hash, like an API key."""

import secrets

from dermray.serving.keys import digest

LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: none that is taken for another
LOOKALIKES = str.maketrans("oil", "011")
LENGTH, GROUP = 20, 4  # 100 random bits, which nobody finds by trying


def new_code() -> str:
    """As it is handed over, in groups that can be read aloud."""
    letters = "".join(secrets.choice(LETTERS) for _ in range(LENGTH))
    return "-".join(letters[start : start + GROUP] for start in range(0, LENGTH, GROUP))


def hash_of(code: str) -> str:
    """Of a code as somebody typed it: case, spaces and dashes do not matter."""
    plain = "".join(code.lower().split()).replace("-", "").translate(LOOKALIKES)
    return digest(plain.encode("utf-8", "replace").decode())  # halves of surrogate pairs have no bytes
