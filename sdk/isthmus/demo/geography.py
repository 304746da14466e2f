"""What the application computes: distances on a sphere to the hubs that it flies from, and time zones."""

import math
from collections.abc import Iterable
from functools import cache
from zoneinfo import available_timezones

from isthmus.demo.dataset import Row

EARTH_RADIUS_KM = 6371.0088
"""Mean radius (IUGG)."""

HUBS = {
    "AMS": (52.3086, 4.7639),
    "ATL": (33.6367, -84.4281),
    "BOG": (4.7016, -74.1469),
    "CDG": (49.0097, 2.5478),
    "CPT": (-33.9648, 18.6017),
    "DEL": (28.5665, 77.1031),
    "DEN": (39.8617, -104.6731),
    "DXB": (25.2528, 55.3644),
    "FRA": (50.0333, 8.5706),
    "GRU": (-23.4356, -46.4731),
    "HND": (35.5523, 139.7800),
    "IST": (41.2753, 28.7519),
    "JFK": (40.6398, -73.7789),
    "JNB": (-26.1392, 28.2460),
    "LAX": (33.9425, -118.4081),
    "LHR": (51.4706, -0.4619),
    "NBO": (-1.3192, 36.9278),
    "PEK": (40.0801, 116.5846),
    "SIN": (1.3502, 103.9944),
    "SYD": (-33.9461, 151.1772),
    "YYZ": (43.6772, -79.6306),
}
"""IATA code: latitude and longitude, degrees."""

_LATITUDES = ("lat", "latitude")
_LONGITUDES = ("lon", "lng", "longitude")
_TIMEZONES = ("tz", "timezone", "time_zone")
_MAX_LATITUDE = 90
_MAX_LONGITUDE = 180


def coordinates(row: Row) -> tuple[float, float] | None:
    """Return latitude and longitude in degrees, None for a row without. Raises ValueError for nonsense."""
    latitude, longitude = _first(row, _LATITUDES), _first(row, _LONGITUDES)
    if not latitude or not longitude:
        return None
    found = float(latitude), float(longitude)
    # Written so that NaN fails too.
    if not (abs(found[0]) <= _MAX_LATITUDE and abs(found[1]) <= _MAX_LONGITUDE):
        raise ValueError("the coordinates are not on Earth")
    return found


def distance_km(here: tuple[float, float], there: tuple[float, float]) -> float:
    """Return the great-circle distance of two points in degrees (haversine)."""
    latitude, longitude, other_latitude, other_longitude = map(math.radians, (*here, *there))
    chord = (
        math.sin((other_latitude - latitude) / 2) ** 2
        + math.cos(latitude) * math.cos(other_latitude) * math.sin((other_longitude - longitude) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * math.asin(min(1.0, math.sqrt(chord)))


def nearest_hub(here: tuple[float, float]) -> tuple[str, float]:
    """Return the code of the nearest hub and the distance to it in kilometers."""
    distance, code = min((distance_km(here, there), code) for code, there in HUBS.items())
    return code, distance


def has_unknown_timezone(row: Row) -> bool:
    """Tell whether the row names a time zone that the zone database does not know."""
    name = _first(row, _TIMEZONES)
    return bool(name) and name not in _timezones()


def group_of(row: Row) -> str:
    """Return what the row is counted under: its country, else its first column."""
    return row.get("country") or next(iter(row.values()), "") or "?"


@cache
def _timezones() -> frozenset[str]:
    return frozenset(available_timezones())


def _first(row: Row, names: Iterable[str]) -> str:
    return next((row[name] for name in names if row.get(name)), "")
