"""SHA-256 sums of tensors, computed by threads that nobody has to wait for.

An executor would be shorter. But an exception from a signal handler, such as Ctrl-C, can leave one
of its locks held, and its shutdown then waits for ever. Here the caller waits for a queue that is
written in C, and threads stop by themselves.
"""

import _thread
import hashlib
import os
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Self

from adamax_adapters.checkpoint.tensorfile import Tensor

__all__ = ["Digests", "sha256"]

THREADS_PAY_BYTES = 2**14  # of a tensor, on average


def sha256(text: str, data: Any = b"") -> str:
    """Return the hexadecimal SHA-256 of a text and the bytes that follow it."""
    digest = hashlib.sha256(text.encode())
    digest.update(data)
    return digest.hexdigest()


class Digests:
    """The sums of dtype, shape and elements of tensors; threads begin to compute them at once.

    As a context manager, it lets the threads stop after the tensors that they are hashing.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._count = len(tensors)
        self._left = deque(tensors.items())
        self._done: SimpleQueue[tuple[str, str] | BaseException] = SimpleQueue()
        if sum(part.stored.nbytes for part in tensors.values()) > THREADS_PAY_BYTES * self._count:
            with suppress(RuntimeError):  # a process that is about to end starts no threads
                for _ in range(min(self._count, os.cpu_count() or 1)):
                    _thread.start_new_thread(self._help, ())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._left.clear()

    def result(self) -> dict[str, str]:
        """Return the sums by name; the caller hashes too, until no tensor is left."""
        self._work()
        found = {}
        for _ in range(self._count):
            done = self._done.get()
            if isinstance(done, BaseException):
                raise done
            found[done[0]] = done[1]
        return found

    def _work(self) -> None:
        while True:
            try:
                name, part = self._left.popleft()
            except IndexError:  # another thread has taken the last one
                return
            self._done.put((name, _of_tensor(part)))

    def _help(self) -> None:
        try:
            self._work()
        except BaseException as error:  # otherwise the caller would wait for the sum
            self._done.put(error)


def _of_tensor(part: Tensor) -> str:
    shape = ",".join(map(str, part.shape))
    return sha256(f"{part.code}[{shape}]", part.data())
