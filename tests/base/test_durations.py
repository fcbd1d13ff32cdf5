"""Times as people say them."""

from __future__ import annotations

import pytest

from transferzoo.base.durations import duration


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (0.0004, "0.0004 s"),
        (0.43, "0.4 s"),
        (1, "1 s"),
        (99.4, "99 s"),
        (600, "10 min"),
        (3600 * 2.54, "2.5 h"),
    ],
)
def test_a_time_is_nothing_only_where_it_is(seconds: float, said: str) -> None:
    assert duration(seconds) == said
