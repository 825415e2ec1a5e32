"""How fast a source may be asked: rows a second, and questions at a time, as `throttle` has set it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

#: How many pages may be asked for at a time where nobody has set it, and pages can be asked for out of order.
CONCURRENCY = 4


@dataclass
class Pace:
    """A limit that is kept while rows come: at most so many rows a second on the whole, None for no limit.

    `concurrency` is how many questions may be open at a time. One pace serves one pull, from several threads.
    """

    rows_per_second: float | None = None
    concurrency: int = CONCURRENCY
    _free: float = field(default=0.0, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    @classmethod
    def of(cls, doc: Mapping[str, Any]) -> Pace:
        """The pace of a catalog's entry of kind `limit`.

        >>> Pace.of({"source": "crm", "concurrency": 2}).concurrency
        2
        """
        return cls(doc.get("rows_per_second"), doc.get("concurrency") or CONCURRENCY)

    def wait(self) -> None:
        """Wait until what has come so far has taken its time."""
        if (left := self._free - time.monotonic()) > 0:
            time.sleep(left)

    def count(self, rows: int) -> None:
        """Note that so many rows have come; the next `wait` lasts until they have taken their time."""
        if self.rows_per_second:
            with self._lock:
                self._free = max(self._free, time.monotonic()) + rows / self.rows_per_second


def paced(batches: Iterable[pa.RecordBatch], pace: Pace) -> Iterator[pa.RecordBatch]:
    """The batches, none sooner than the pace allows."""
    for batch in batches:
        pace.wait()
        pace.count(batch.num_rows)
        yield batch
