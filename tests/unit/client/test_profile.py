"""Profiles, variables, and what a client is assembled from."""

import os
from pathlib import Path

import pytest
from tests.unit.client.teams import TRUST_DOMAIN, Team, trust_in
from tests.unit.keys.world import FAST, NOW_MS, PASSPHRASE, make_keyring

from isthmus.blobs.settings import BlobSettings
from isthmus.client import Client, OperationHandle, Profile, StartOptions, load_profile
from isthmus.client.assembly import assemble, blob_settings, token_source
from isthmus.client.errors import ConfigurationError
from isthmus.client.profile import config_path, current_profile, profile_names
from isthmus.keys.file_keyring import FileKeyring
from isthmus.keys.keyring_format import KdfParameters, new_salt
from isthmus.transport.credentials import EnvironmentToken, FileToken
from isthmus.wire.names import DEVELOPMENT_TRUST_DOMAIN, format_operation_id

CONFIG = """
current = "dev"

[profiles.dev]
address = "localhost:7243"
namespace = "data-team"
keyring = "keys/ring.json"
trust_on_first_use = true

[profiles.prod]
address = "https://gw.example.com"
token_file = "/run/token"
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables that name a file with two profiles."""
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    path.chmod(0o644)
    return {"ISTHMUS_CONFIG": str(path)}


def test_current_profile_is_used_when_none_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    """Paths are relative to the file."""
    profile = load_profile(environment=environment)
    assert profile.address == "localhost:7243"
    assert profile.keyring == tmp_path / "keys/ring.json"
    assert profile.trust_on_first_use
    assert profile_names(environment) == ("dev", "prod")


def test_named_profile_wins_when_argument_or_variable_names_it(environment: dict[str, str]) -> None:
    """Argument, then variable, then the file."""
    assert load_profile("prod", environment=environment).token_file == Path("/run/token")
    by_variable = load_profile(environment=environment | {"ISTHMUS_PROFILE": "prod"})
    assert by_variable.address == "https://gw.example.com"
    both = load_profile("dev", environment=environment | {"ISTHMUS_PROFILE": "prod"})
    assert both.address == "localhost:7243"


def test_variables_win_when_set(environment: dict[str, str]) -> None:
    """Over the file."""
    changed = environment | {"ISTHMUS_ADDRESS": "localhost:1", "ISTHMUS_TRUST_ON_FIRST_USE": "no"}
    profile = load_profile(environment=changed)
    assert profile.address == "localhost:1"
    assert not profile.trust_on_first_use
    with pytest.raises(ConfigurationError, match="ALLOW_INSECURE"):
        load_profile(environment=environment | {"ISTHMUS_ALLOW_INSECURE": "maybe"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('current = "x"', "no profile 'x'"),
        ('[profiles.dev]\ntoken = "s"\n', "token_file or ISTHMUS_TOKEN"),
        ('[profiles.dev]\npassphrase = "s"\n', "passphrase_file or ISTHMUS_PASSPHRASE"),
        ('[profiles.dev]\nadress = "s"\n', "unknown setting adress"),
        ("[profiles.dev]\naddress = 3\n", "address must be a str"),
        ("[profiles.dev]\nblob_max_bytes = true\n", "blob_max_bytes must be a int"),
        ('[profiles.dev]\nblob_prefixes = "s3://x/"\n', "table of lists"),
        ('[profiles.dev.blob_prefixes]\napp-team = "s3://x/"\n', "table of lists"),
        ("[profiles.dev.blob_prefixes]\napp-team = [3]\n", "table of lists"),
        ("[profiles.dev]\nallow_insecure = 1\n", "allow_insecure must be a bool"),
        ("current =", "not valid TOML"),
    ],
)
def test_file_is_refused_when_it_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    """Naming the setting."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    variables = {"ISTHMUS_CONFIG": str(path)}
    if "current" not in text:
        variables["ISTHMUS_PROFILE"] = "dev"
    with pytest.raises(ConfigurationError, match=message):
        load_profile(environment=variables)


def test_file_is_missed_when_a_variable_names_it(tmp_path: Path) -> None:
    """A typing error is not "no profiles"; what is meant to be empty can be /dev/null."""
    environment = {"ISTHMUS_CONFIG": str(tmp_path / "none.toml")}
    with pytest.raises(ConfigurationError, match=r"names .*none\.toml, which does not exist"):
        load_profile(environment=environment)
    with pytest.raises(ConfigurationError, match="does not exist"):
        profile_names(environment)
    assert load_profile(environment={"ISTHMUS_CONFIG": os.devnull}) == Profile()


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_file_is_refused_when_others_can_write_it(
    environment: dict[str, str], tmp_path: Path, mode: int
) -> None:
    """It decides address and trust; that others read it does no harm."""
    path = tmp_path / "config.toml"
    path.chmod(mode)
    with pytest.raises(ConfigurationError, match=r"can be written by others.*chmod go-w"):
        load_profile(environment=environment)
    path.chmod(0o644)
    assert load_profile(environment=environment).address == "localhost:7243"


def test_nothing_is_needed_when_there_is_no_file(tmp_path: Path) -> None:
    """An empty profile, at the usual place."""
    assert load_profile(environment={"XDG_CONFIG_HOME": str(tmp_path)}) == Profile()
    assert config_path({"XDG_CONFIG_HOME": str(tmp_path)}) == tmp_path / "isthmus" / "config.toml"


def test_missing_file_is_what_the_message_says_when_a_profile_is_named(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """Whoever forgot ISTHMUS_CONFIG in another terminal reads its name."""
    with pytest.raises(ConfigurationError, match=r"there is no .*config\.toml; set ISTHMUS_CONFIG"):
        load_profile("dev", environment={"XDG_CONFIG_HOME": str(tmp_path / "elsewhere")})
    with pytest.raises(ConfigurationError, match=r"has no profile 'other' \(it has: .*dev.*ISTHMUS_CONFIG"):
        load_profile("other", environment=environment)


def test_parts_fit_together_when_everything_comes_from_files(tmp_path: Path) -> None:
    """Keyring, passphrase, trust store, token."""
    ring = tmp_path / "ring.json"
    parameters = KdfParameters(salt=new_salt(), memory_kib=64, iterations=1, lanes=1)
    FileKeyring.create(
        ring, b"pw", namespace="data-team", trust_domain=TRUST_DOMAIN, now_ms=1, parameters=parameters
    )
    passphrase = tmp_path / "passphrase"
    passphrase.write_text("pw\n")
    passphrase.chmod(0o600)
    trust = tmp_path / "trust.json"
    trust_in(Team.create("payments-team"), trust)
    profile = Profile(
        keyring=ring, passphrase_file=passphrase, trust_store=trust, token_file=tmp_path / "token"
    )
    parts = assemble(profile=profile, environment={})
    assert parts.keyring.namespace == "data-team"
    assert parts.trust.namespace_of_endpoint("payments") == "payments-team"
    assert isinstance(parts.credentials, FileToken)
    with_variable = assemble(profile=profile, environment={"ISTHMUS_TOKEN": "t"})
    assert isinstance(with_variable.credentials, EnvironmentToken)
    with pytest.raises(ConfigurationError, match="belongs to data-team"):
        assemble(profile=profile, namespace="other-team", environment={})


@pytest.mark.parametrize(("trust_domain", "permitted"), [(DEVELOPMENT_TRUST_DOMAIN, True), ("acme", False)])
def test_trust_on_first_use_is_refused_when_this_is_no_development(
    trust_domain: str, tmp_path: Path, *, permitted: bool
) -> None:
    """A setting that was copied from there would let the gateway say whom to trust."""
    keyring = FileKeyring.create(
        tmp_path / "ring", PASSPHRASE, namespace="app-team", trust_domain=trust_domain, now_ms=NOW_MS,
        parameters=FAST,
    )  # fmt: skip
    profile = Profile(trust_store=tmp_path / "trust.json", trust_on_first_use=True)
    if permitted:
        assert assemble(profile=profile, keyring=keyring, environment={}).trust_on_first_use
        return
    with pytest.raises(ConfigurationError, match="isthmus trust add"):
        assemble(profile=profile, keyring=keyring, environment={})


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        (Profile(), "no keyring"),
        (Profile(keyring=Path("/nowhere")), "there is no keyring at /nowhere"),
        (Profile(keyring=Path("ring")), "needs a passphrase"),
        (Profile(keyring=Path("ring"), passphrase_file=Path("/nowhere")), "cannot read"),
    ],
)
def test_message_says_how_when_something_is_missing(
    profile: Profile, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What to set."""
    monkeypatch.chdir(tmp_path)
    make_keyring(tmp_path / "ring")
    with pytest.raises(ConfigurationError, match=message):
        assemble(profile=profile, environment={})


def test_credentials_are_refused_when_contradictory() -> None:
    """Two sources, or a signing key without its issuer."""
    both = Profile(token_file=Path("a"), signing_key_file=Path("b"))
    with pytest.raises(ConfigurationError, match="not both"):
        token_source(both, {})
    with pytest.raises(ConfigurationError, match="issuer"):
        token_source(Profile(signing_key_file=Path("b")), {})
    assert token_source(Profile(), {}) is None


def test_file_says_which_profile_is_current_when_nobody_names_one(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """What ``isthmus profile list`` marks."""
    assert current_profile(environment) == "dev"
    assert current_profile({"XDG_CONFIG_HOME": str(tmp_path)}) is None


@pytest.mark.parametrize(
    "option", ["schedule_to_start_timeout", "start_to_close_timeout", "schedule_to_close_timeout"]
)
def test_timeout_is_refused_when_it_is_a_number(option: str) -> None:
    """Seconds or milliseconds? A timedelta says it."""
    with pytest.raises(ConfigurationError, match=f"{option} is a timedelta, not 30"):
        StartOptions(**{option: 30})  # type: ignore[arg-type]


async def test_wait_is_refused_when_its_timeout_is_a_number(client: Client) -> None:
    """As the timeouts of a start are."""
    handle: OperationHandle[None] = client.get_operation_handle(format_operation_id(bytes(16)))
    with pytest.raises(ConfigurationError, match="timeout is a timedelta, not 5"):
        await handle.result(timeout=5)  # type: ignore[arg-type]


BLOBS = """
[profiles.dev]
blob_store = "s3://exchange/data-team/"
blob_spool = "spool"
blob_retention_days = 7

[profiles.dev.blob_prefixes]
app-team = ["s3://exchange/app-team/", "file:///srv/"]
"""


def test_blob_settings_are_those_of_the_profile_when_nothing_else_says_so(tmp_path: Path) -> None:
    """From the file, and as variables on top of it."""
    path = tmp_path / "config.toml"
    path.write_text(BLOBS)
    environment = {"ISTHMUS_CONFIG": str(path), "ISTHMUS_PROFILE": "dev"}
    settings = blob_settings(load_profile(environment=environment))
    assert settings == BlobSettings(
        store="s3://exchange/data-team/",
        spool=tmp_path / "spool",
        retention_days=7,
        prefixes={"app-team": ("s3://exchange/app-team/", "file:///srv/")},
    )
    changed = environment | {
        "ISTHMUS_BLOB_THRESHOLD_BYTES": "5",
        "ISTHMUS_BLOB_PREFIXES": "a=s3://one/ b=s3://two/ a=s3://three/",
    }
    settings = blob_settings(load_profile(environment=changed))
    assert settings.threshold_bytes == 5
    assert settings.prefixes == {"a": ("s3://one/", "s3://three/"), "b": ("s3://two/",)}


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("ISTHMUS_BLOB_PREFIXES", "s3://one/", "namespace=prefix"),
        ("ISTHMUS_BLOB_PREFIXES", "app-team=s3://one", "slash at the end"),
        ("ISTHMUS_BLOB_STORE", "https://one/", "slash at the end"),
        ("ISTHMUS_BLOB_MAX_BYTES", "many", "whole number"),
        ("ISTHMUS_BLOB_MAX_BYTES", "0", "at least 1"),
        ("ISTHMUS_BLOB_RETENTION_DAYS", "-1", "whole number"),
    ],
)
def test_blob_setting_is_refused_when_it_makes_no_sense(
    variable: str, value: str, message: str, environment: dict[str, str]
) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigurationError, match=message):
        blob_settings(load_profile(environment=environment | {variable: value}))
