"""Which places a team lets another one point to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.blobs.address import check_prefix, check_prefixes, locate
from isthmus.blobs.errors import BlobRefusedError
from isthmus.transport.errors import ConfigurationError

NAME = "app-team/20261125T100000Z-20270223T100000Z-" + "0a" * 16 + ".sealed"
ROOT = "s3://exchange/data-team/"
PREFIXES = check_prefixes({"data-team": [ROOT, "file:///srv/blobs/"], "other-team": ["s3://theirs/"]})


@pytest.mark.parametrize("url", [ROOT + NAME, ROOT + "deep/er/" + NAME, "file:///srv/blobs/" + NAME])
def test_blob_is_located_when_its_sender_may_point_there(url: str) -> None:
    """Below the prefix, as deep as it likes."""
    place = locate(url, sender_namespace="data-team", prefixes=PREFIXES)
    assert place.url == url
    assert place.root in PREFIXES["data-team"]


@pytest.mark.parametrize(
    "url",
    [
        "s3://theirs/" + NAME,
        "s3://exchange/" + NAME,
        "s3://exchange/data-team-2/" + NAME,
        "S3://exchange/data-team/" + NAME,
        "https://exchange/data-team/" + NAME,
        "http://169.254.169.254/latest/" + NAME,
        "file:///etc/passwd",
        "file:///srv/blobs/../../etc/" + NAME,
        "file:///srv/blobs/./" + NAME,
        "file:///srv/blobs//" + NAME,
        "file:///srv/blobs/%2e%2e/" + NAME,
        "file://host/srv/blobs/" + NAME,
        "file:///srv/blobs/a\\b/" + NAME,
        "file:///srv/blobs/a\x00b/" + NAME,
        "file:///srv/blobs/" + NAME + "/",
        "file:///srv/blobs/" + NAME + "\n",
        "file:///srv/blobs/" + NAME + ".partial",
        "file:///srv/blobs/app-team/passwd",
        ROOT + NAME + "?versionId=1",
        ROOT + NAME + "#x",
        "s3://user@exchange/data-team/" + NAME,
        ROOT,
        ROOT + "../other/" + NAME,
        ROOT + "a" * 1100 + "/" + NAME,
        "",
        "\ud800",
    ],
)
def test_url_is_refused_when_it_is_not_below_a_prefix_of_its_sender(url: str) -> None:
    """Neither other places nor other ways to write the same place."""
    with pytest.raises(BlobRefusedError, match=r"not allowed .* by the recipient"):
        locate(url, sender_namespace="data-team", prefixes=PREFIXES)


def test_url_is_refused_when_another_namespace_may_point_there() -> None:
    """Prefixes belong to one sender each."""
    with pytest.raises(BlobRefusedError):
        locate(ROOT + NAME, sender_namespace="other-team", prefixes=PREFIXES)


@given(st.text(alphabet="ab./\\%:@?#2eE\x00 ", max_size=30))
def test_no_url_leaves_its_prefix_when_segments_are_hostile(middle: str) -> None:
    """Whatever is accepted is what it looks like."""
    url = ROOT + middle + "/" + NAME
    try:
        place = locate(url, sender_namespace="data-team", prefixes=PREFIXES)
    except BlobRefusedError:
        return
    assert not {"", ".", ".."} & set(place.name.split("/"))
    assert not set("\\%:?#\x00 ") & set(place.name)


@pytest.mark.parametrize(
    "prefix",
    [
        "s3://exchange/data-team",
        "s3://exchange",
        "s3://Exchange/x/",
        "file://srv/",
        "file:///srv/../",
        "/srv/",
        "https://exchange/x/",
        "s3://exchange/a%2fb/",
        "",
    ],
)
def test_prefix_is_refused_when_it_could_cover_more_than_it_says(prefix: str) -> None:
    """A configuration that is unsafe does not start."""
    with pytest.raises(ConfigurationError, match="slash at the end"):
        check_prefix(prefix, setting="blob_store")


def test_prefixes_are_refused_when_a_namespace_is_none() -> None:
    """A misspelled name would allow nothing, silently."""
    with pytest.raises(ConfigurationError, match="namespace"):
        check_prefixes({"Data Team": [ROOT]})
