"""Reads Thrift's compact protocol, in which Parquet keeps its footers: structs as dictionaries of numbered fields.

Format: github.com/apache/thrift, doc/specs/thrift-compact-protocol.md. Maps and sets are left out: Parquet has none.
"""

import struct
from typing import Any

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 12


class Reader:
    """Takes values from the front of some bytes; `at` is how far it came.

    Every method raises ValueError where the bytes are no such value.
    """

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def take(self, count: int) -> bytes:
        """The next bytes."""
        taken = self.data[self.at : self.at + count]
        if len(taken) < count or count < 0:
            raise ValueError(f"byte {self.at} of {len(self.data)}: expected {count} more")
        self.at += count
        return taken

    def unsigned(self) -> int:
        """LEB128: seven bits a byte, the lowest first."""
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def signed(self) -> int:
        """Zigzag: 0, -1, 1, -2 are 0, 1, 2, 3."""
        value = self.unsigned()
        return value >> 1 ^ -(value & 1)

    def struct(self) -> dict[int, Any]:
        """Fields by number. A head of four bits for the distance from the field before, four for the type."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self.take(1)[0]:
            number = number + (head >> 4) if head >> 4 else self.signed()
            kind = head & 15
            fields[number] = kind == TRUE if kind in (TRUE, FALSE) else self.value(kind)
        return fields

    def value(self, kind: int) -> Any:
        """What a field or an element of a list holds."""
        if kind in (I16, I32, I64):
            return self.signed()
        if kind == BINARY:
            return self.take(self.unsigned())
        if kind == STRUCT:
            return self.struct()
        if kind == LIST:
            return self._list()
        if kind in (TRUE, FALSE):  # in a list a bool is a byte
            return self.take(1)[0] == TRUE
        if kind == BYTE:
            return struct.unpack("b", self.take(1))[0]
        if kind == DOUBLE:
            return struct.unpack("<d", self.take(8))[0]
        raise ValueError(f"byte {self.at}: unknown Thrift type {kind}")

    def _list(self) -> list[Any]:
        head = self.take(1)[0]
        count = head >> 4 if head >> 4 < 15 else self.unsigned()
        return [self.value(head & 15) for _ in range(count)]
