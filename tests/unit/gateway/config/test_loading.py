"""The configuration, and what it refuses."""

from pathlib import Path

import pytest

from isthmus.gateway.config.environment import PREFIX, variables
from isthmus.gateway.config.listen_address import parse_listen_address
from isthmus.gateway.config.loading import check_config, load_config
from isthmus.gateway.core.errors import ConfigurationError

SAFE = """
trust_domain = "example.com"
data_dir = "{data_dir}"

[[issuers]]
kind = "development"
"""
REAL = """
trust_domain = "example.com"
data_dir = "{data_dir}"

[listen]
address = "127.0.0.1:0"

[limits]
max_waiters = 5

[[issuers]]
issuer = "https://issuer.example"
algorithm = "EdDSA"
audience = "isthmus"
key_file = "{key}"

[[issuers.subjects]]
subject = "ci-*"
namespace = "data-team"
"""


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A file that stands for an issuer's key."""
    file = tmp_path / "issuer.pem"
    file.touch(mode=0o644)
    return file


def write(tmp_path: Path, text: str) -> Path:
    """Write a configuration file."""
    file = tmp_path / "isthmus.toml"
    file.write_text(text, encoding="utf-8")
    return file


def problems(tmp_path: Path, text: str, **environ: str) -> str:
    """Return every problem of a configuration, as an operator reads them."""
    found = check_config(write(tmp_path, text.format(data_dir=tmp_path / "data")), environ)
    assert all(problem.fix for problem in found)
    return "\n".join(map(str, found))


def test_config_is_read_when_it_is_safe(tmp_path: Path, key: Path) -> None:
    """Every section becomes typed values; what is not said has its default."""
    text = REAL.format(data_dir=tmp_path / "data", key=key)
    config = load_config(write(tmp_path, text), {})
    assert config.trust_domain == "example.com"
    assert config.limits.max_waiters == 5
    assert config.lease_seconds == 30
    assert config.issuers[0].key_file == key
    assert config.issuers[0].subjects[0].namespace == "data-team"
    assert config.database_file == tmp_path / "data" / "isthmus.db"


def test_environment_wins_when_both_say_something(tmp_path: Path) -> None:
    """Every option has a variable, and it wins over the file."""
    file = write(tmp_path, SAFE.format(data_dir=tmp_path))
    config = load_config(
        file,
        {
            "ISTHMUS_GATEWAY_LISTEN_ADDRESS": "[::1]:0",
            "ISTHMUS_GATEWAY_REFLECTION": "false",
            "ISTHMUS_GATEWAY_LIMITS_MAX_WAITERS": "7",
            "ISTHMUS_GATEWAY_CONFIG": str(file),
            "PATH": "/bin",
        },
    )
    assert (config.listen.address, config.reflection, config.limits.max_waiters) == ("[::1]:0", False, 7)


def test_environment_is_enough_when_there_is_no_file(tmp_path: Path) -> None:
    """A container needs no file; lists are JSON."""
    config = load_config(
        None,
        {
            "ISTHMUS_GATEWAY_TRUST_DOMAIN": "example.com",
            "ISTHMUS_GATEWAY_DATA_DIR": str(tmp_path),
            "ISTHMUS_GATEWAY_ISSUERS": '[{"kind": "development"}]',
        },
    )
    assert config.issuers[0].kind == "development"


def test_paths_are_those_beside_the_file_when_they_are_relative(tmp_path: Path) -> None:
    """A configuration means the same from wherever it is started."""
    (tmp_path / "state").mkdir(mode=0o700)
    file = tmp_path / "isthmus.toml"
    file.write_text(SAFE.format(data_dir="state"))
    assert load_config(file, {}).data_dir == tmp_path / "state"


def test_every_variable_is_distinct_when_options_are_listed() -> None:
    """Two options never share a variable."""
    paths = [path for path, _ in variables().values()]
    assert len(set(paths)) == len(paths)
    assert all(name.startswith(PREFIX) for name in variables())


def test_every_problem_is_listed_when_there_are_several(tmp_path: Path) -> None:
    """Nobody has to start five times to find five mistakes."""
    found = problems(
        tmp_path,
        'trust_domain = "Example"\ndata_dir = "{data_dir}"\nlease_seconds = 1\n[log]\nlevel = "loud"\n',
    )
    for option in ("trust_domain", "lease_seconds", "log.level", "issuers"):
        assert f"{option}: " in found


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        (SAFE + "lease = 3", {}, "issuers[0].lease: there is no such option"),
        (
            "leese_seconds = 3" + SAFE,
            {},
            "leese_seconds: there is no such option. Did you mean lease_seconds?",
        ),
        (SAFE, {"ISTHMUS_GATEWAY_LEESE_SECONDS": "3"}, "Did you mean ISTHMUS_GATEWAY_LEASE_SECONDS?"),
        ('lease_seconds = "3"' + SAFE, {}, "lease_seconds: it is a whole number"),
        ("lease_seconds = true" + SAFE, {}, "lease_seconds: it is a whole number"),
        ("listen = 3" + SAFE, {}, "listen: it is a table of options"),
        (SAFE, {"ISTHMUS_GATEWAY_LEASE_SECONDS": "soon"}, "ISTHMUS_GATEWAY_LEASE_SECONDS: it cannot be read"),
        ("data_dir = 'x'", {}, "trust_domain: it is missing"),
        ("= no toml", {}, "it is no TOML"),
    ],
)
def test_config_is_refused_when_it_cannot_be_read(
    tmp_path: Path, text: str, environ: dict[str, str], expected: str
) -> None:
    """Unknown names, wrong types and missing values are named, with what was probably meant."""
    assert expected in problems(tmp_path, text, **environ)


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "[::]", "gateway.example.com"])  # noqa: S104
def test_start_is_refused_when_listening_beyond_loopback_without_tls(tmp_path: Path, host: str) -> None:
    """Tokens never travel in the clear, and the development issuer never leaves the machine."""
    found = problems(tmp_path, SAFE + f'\n[listen]\naddress = "{host}:7243"\n')
    assert "tokens would travel in the clear" in found
    assert "the development issuer is for loopback only" in found


def test_development_issuer_is_refused_when_beyond_loopback_with_tls(tmp_path: Path) -> None:
    """TLS does not make it a real issuer."""
    for name in ("tls.crt", "tls.key"):
        (tmp_path / name).touch(mode=0o600)
    found = problems(
        tmp_path,
        SAFE + f'[listen]\naddress = "0.0.0.0:7243"\ntls_certificate_file = "{tmp_path}/tls.crt"\n'
        f'tls_key_file = "{tmp_path}/tls.key"\n',
    )
    assert found == (
        "issuers: the development issuer is for loopback only. "
        "Listen on 127.0.0.1, or configure a real issuer."
    )


def test_start_is_refused_when_the_tls_key_is_open_to_others(tmp_path: Path) -> None:
    """A private key that others can read is no private key."""
    (tmp_path / "tls.key").touch(mode=0o644)
    found = problems(tmp_path, SAFE + f'[listen]\ntls_key_file = "{tmp_path}/tls.key"\n')
    assert "is open to others than its owner" in found
    assert "TLS needs both" in found


def test_start_is_refused_when_others_may_write_the_data_dir(tmp_path: Path) -> None:
    """Who may replace the gateway's keys is the gateway."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o777)
    assert "others may write into" in problems(tmp_path, SAFE)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            'algorithm = "EdDSA"',
            'algorithm = "HS256"',
            "that is believed. It is one of",
        ),
        (
            'algorithm = "EdDSA"',
            'algorithm = "none"',
            "that is believed. It is one of",
        ),
        ('audience = "isthmus"', "", "audience: it is missing"),
        (
            'issuer = "https',
            'jwks_file = "/nowhere"\nissuer = "https',
            "exactly one of key_file and jwks_file",
        ),
        ('subject = "ci-*"', 'subject = "*-ci*"', "it is exact, or ends with one *"),
        ('subject = "ci-*"', 'subject = "ci-*"\nplatform = true', "a pattern cannot administer"),
        ('namespace = "data-team"', 'namespace = "Data Team"', "a namespace is 1 to 63"),
        ('audience = "isthmus"', 'audience = "isthmus"\nmax_lifetime_seconds = 999999', "tokens live 1 to"),
        ('audience = "isthmus"', 'audience = "isthmus"\nkind = "magic"', "It is jwt or development"),
    ],
)
def test_issuer_is_refused_when_unsafe(tmp_path: Path, key: Path, old: str, new: str, expected: str) -> None:
    """Each mistake that would let the wrong people in is named."""
    text = REAL.replace(old, new).replace("{key}", str(key))
    assert expected in problems(tmp_path, text)


def test_issuer_is_refused_when_others_may_write_its_key(tmp_path: Path, key: Path) -> None:
    """Whoever replaces the key is anybody."""
    key.chmod(0o666)
    assert "and so become anybody" in problems(tmp_path, REAL.replace("{key}", str(key)))


def test_config_error_lists_problems_when_loaded(tmp_path: Path) -> None:
    """Loading refuses with the same list that checking returns."""
    with pytest.raises(ConfigurationError, match="there is no issuer"):
        load_config(write(tmp_path, f'trust_domain = "a"\ndata_dir = "{tmp_path}"'), {})


@pytest.mark.parametrize(
    "text", ["", ":1", "localhost", "localhost:", "localhost:70000", "::1:1", "[::1", "a:b"]
)
def test_address_is_refused_when_it_is_not_host_and_port(text: str) -> None:
    """A typing error is found before anything listens."""
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it says
        parse_listen_address(text)


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        ('address = "7244"', "metrics.address: it is host:port"),
        ('enabled = true\naddress = "127.0.0.1:7243"', "metrics.address: it is the address of the gateway"),
    ],
)
def test_metrics_are_refused_when_their_address_is_none(tmp_path: Path, metrics: str, expected: str) -> None:
    """Known before the start, not when the port is taken."""
    assert expected in problems(tmp_path, f"{SAFE}\n[metrics]\n{metrics}\n")
