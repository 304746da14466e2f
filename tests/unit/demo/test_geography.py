"""Distances on Earth."""

import pytest

from isthmus.demo.geography import (
    HUBS,
    coordinates,
    distance_km,
    group_of,
    has_unknown_timezone,
    nearest_hub,
)


def test_distance_is_known_when_the_cities_are() -> None:
    """London Heathrow to New York JFK: 5540 km, by any flight planner."""
    assert distance_km(HUBS["LHR"], HUBS["JFK"]) == pytest.approx(5540, abs=5)
    assert distance_km(HUBS["LHR"], HUBS["LHR"]) == 0
    assert distance_km((0, 0), (0, 180)) == pytest.approx(20015, abs=1)


def test_hub_is_nearest_when_one_stands_on_it() -> None:
    """And across the date line."""
    assert nearest_hub(HUBS["SYD"])[0] == "SYD"
    assert nearest_hub((21.3, 179.9))[0] == nearest_hub((21.3, -179.9))[0]


def test_coordinates_are_none_when_the_row_has_none() -> None:
    """Rows of any table can be placed; some have no place."""
    assert coordinates({"name": "x"}) is None
    assert coordinates({"latitude": "1", "lng": "2"}) == (1.0, 2.0)


def test_timezone_is_unknown_when_the_database_lacks_it() -> None:
    """A row without one has none that could be wrong."""
    assert has_unknown_timezone({"tz": "Europe/Atlantis"})
    assert not has_unknown_timezone({"tz": "Europe/Zurich"})
    assert not has_unknown_timezone({"name": "x"})


def test_group_is_the_first_column_when_there_is_no_country() -> None:
    """Something to count by is always there."""
    assert group_of({"name": "x", "country": "CH"}) == "CH"
    assert group_of({"name": "x"}) == "x"
    assert group_of({"name": ""}) == "?"
