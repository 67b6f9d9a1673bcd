"""Whose turn it is: clients in rotation, the requests of a client in rotation, the images of a request in order."""

from collections.abc import Hashable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar


class Owned(Protocol):
    """What belongs to a request of a client."""

    @property
    def client(self) -> Hashable: ...  # noqa: D102

    @property
    def request(self) -> Hashable: ...  # noqa: D102


T = TypeVar("T", bound=Owned)


class Turns(Generic[T]):
    """Remembers who had a turn when, so that the next is for those who have waited longest."""

    def __init__(self) -> None:
        self._now = 0
        self._last: dict[Hashable, int] = {}  # turn of a client, and of a (client, request)

    def order(self, waiting: Sequence[T]) -> list[T]:
        """All of them, the first to get a place first: one of each client, then a second one of each, and so on.

        Args:
            waiting: in the order in which they came.
        """
        clients: dict[Hashable, dict[Hashable, list[T]]] = {}
        for item in waiting:
            clients.setdefault(item.client, {}).setdefault(item.request, []).append(item)
        in_turn = sorted(clients, key=lambda client: self._last.get(client, 0))
        lines = []
        for client in in_turn:
            requests = clients[client]
            by_turn = sorted(requests, key=lambda request: self._last.get((client, request), 0))
            lines.append(list(_alternating([requests[request] for request in by_turn])))
        return list(_alternating(lines))

    def taken(self, chosen: Sequence[T], waiting: Sequence[T]) -> None:
        """`chosen` had their turn; of who is not among `waiting` nothing is remembered."""
        self._now += 1
        here = {key for item in waiting for key in (item.client, (item.client, item.request))}
        self._last = {key: turn for key, turn in self._last.items() if key in here}
        for item in chosen:
            self._last[item.client] = self._last[(item.client, item.request)] = self._now


def _alternating(lines: list[list[T]]) -> Iterator[T]:
    """The first of each line, then the second of each."""
    for place in range(max(map(len, lines), default=0)):
        for line in lines:
            if place < len(line):
                yield line[place]
