# SPDX-License-Identifier: Apache-2.0
import pytest
from crashes import endure
from servers import free_port


def unharmed(figures):
    return {
        **figures,
        "lost": 0,
        "kept_twice": 0,
        "acknowledged_twice": 0,
        "kept_but_never_sent": 0,
        "counted_in_memory": figures["acknowledged"],
    }


def test_what_was_acknowledged_survives_being_killed(tmp_path):
    figures = endure(f"sqlite:///{tmp_path / 'live.db'}", free_port(), kills=5, seed=5)
    assert figures == unharmed(figures)
    assert figures["acknowledged"] > 100
    assert figures["sent_again"] > 0


@pytest.mark.slow
def test_what_was_acknowledged_survives_being_killed_two_hundred_times(url):
    figures = endure(url, free_port(), kills=200, seed=200)
    assert figures == unharmed(figures)
    # Some were on disk when the process died before it could say so: sent again, they count once.
    assert figures["known_when_sent_again"] > 100
