"""The order of a result counts where the query asks for one."""

from __future__ import annotations

import pyarrow as pa
import pytest

from agentlab.queries import check, ordered_by
from agentlab.results import difference

LEFT = pa.table({"city": ["Rome", "Oslo", "Kyiv"], "total": [3.0, 2.0, 2.0]})


def test_rows_that_are_equal_in_what_is_ordered_by_may_change_places():
    assert difference(LEFT, LEFT.take([0, 2, 1]), ordered_by=[1]) == ""


def test_rows_that_change_places_otherwise_make_another_result():
    told = difference(LEFT, LEFT.take([1, 0, 2]), ordered_by=[1])
    assert told == "the rows come in another order: at row 1 column total is 2.0, not 3.0"
    assert difference(LEFT, LEFT.take([1, 0, 2])) == ""


@pytest.mark.parametrize(
    ("sql", "places"),
    [
        ("SELECT city, total FROM t", ()),
        ("SELECT city, total FROM t ORDER BY 2, city", (1, 0)),
        ("SELECT city, sum(n) AS total FROM t GROUP BY city ORDER BY TOTAL", (1,)),
        ("SELECT t.city, sum(n) FROM t GROUP BY 1 ORDER BY sum(n) DESC, t.city", (1, 0)),
        ("SELECT upper(city) AS city, total FROM t ORDER BY t.city, total", ()),
        ("SELECT city, total FROM t ORDER BY n, city", ()),
        ("SELECT city, total FROM t UNION ALL SELECT city, total FROM t ORDER BY city", (0,)),
    ],
)
def test_by_which_columns_of_the_result_a_query_orders(sql: str, places: tuple[int, ...]):
    assert ordered_by(check(sql, ["t"]), ["city", "total"]) == places
