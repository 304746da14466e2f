"""Tokens that must open nothing. Each was accepted by some library or configuration some day."""

import json
import random
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from tests.adversarial.token_forge import AUDIENCE, ISSUER, NOW, Forge, b64, bearer, claims, header

from isthmus.gateway.authn.verification_keys import KeyFile
from isthmus.gateway.core.errors import UnauthenticatedError

IAT = int(NOW.timestamp())
STRANGER = ed25519.Ed25519PrivateKey.generate()
NAN = json.dumps(claims()).replace(str(IAT + 300), "NaN")


def unsigned(forge: Forge) -> str:
    """Return a token with alg none and no signature."""
    return forge.sign(header(alg="none"), claims()).rpartition(".")[0] + "."


def with_jwk(forge: Forge) -> str:
    """Return a token that brings the key along that it is signed with."""
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64(STRANGER.public_key().public_bytes_raw())}
    return forge.sign(header(jwk=jwk), claims(), STRANGER)


def cut(forge: Forge) -> str:
    """Return a token without its last character."""
    return forge.good()[:-1]


def padded(forge: Forge) -> str:
    """Return a token in base64 with padding."""
    return forge.good() + "=="


def other_encoding(forge: Forge) -> str:
    """Return a token whose last signature character differs in bits that decoding drops."""
    token = forge.good()
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


def swapped(forge: Forge) -> str:
    """Return the claims of one token under the signature of another."""
    one, other = forge.good().split("."), forge.good(sub="root").split(".")
    return ".".join([one[0], other[1], one[2]])


def repeated_claim(forge: Forge) -> str:
    """Return a token that names its subject twice."""
    return forge.sign(header(), json.dumps(claims())[:-1] + ', "sub": "root"}')


def repeated_nested(forge: Forge) -> str:
    """Return a token that repeats a name inside of a claim."""
    return forge.sign(header(), json.dumps(claims())[:-1] + ', "x": {"a": 1, "a": 2}}')


def repeated_header(forge: Forge) -> str:
    """Return a token that names its algorithm twice."""
    return forge.sign('{"alg": "none", "typ": "JWT", "alg": "EdDSA"}', claims())


Make = Callable[[Forge], str]
REFUSED: dict[str, tuple[Make, str]] = {
    # the algorithm is the issuer's, not the token's
    "alg_none": (lambda f: f.sign(header(alg="none"), claims()), "TOKEN_ALGORITHM"),
    "alg_none_unsigned": (unsigned, "TOKEN_MALFORMED"),
    "alg_none_mixed_case": (lambda f: f.sign(header(alg="nOnE"), claims()), "TOKEN_ALGORITHM"),
    "alg_missing": (lambda f: f.sign(header(alg=None), claims()), "TOKEN_ALGORITHM"),
    "alg_number": (lambda f: f.sign(header(alg=7), claims()), "TOKEN_MALFORMED"),
    "hs256_with_raw_public_key": (lambda f: f.hmac(f.public_raw), "TOKEN_ALGORITHM"),
    "hs256_with_public_pem": (lambda f: f.hmac(f.public_pem), "TOKEN_ALGORITHM"),
    "hs256_with_empty_key": (lambda f: f.hmac(b""), "TOKEN_ALGORITHM"),
    "alg_es256": (lambda f: f.sign(header(alg="ES256"), claims()), "TOKEN_ALGORITHM"),
    # the signature
    "stranger": (lambda f: f.sign(header(), claims(), STRANGER), "TOKEN_SIGNATURE"),
    "claims_swapped": (swapped, "TOKEN_SIGNATURE"),
    "signature_empty": (lambda f: f.good().rpartition(".")[0] + ".", "TOKEN_MALFORMED"),
    "signature_short": (lambda f: f.good().rpartition(".")[0] + ".AAAA", "TOKEN_SIGNATURE"),
    "signature_zero": (lambda f: f.good().rpartition(".")[0] + "." + b64(bytes(64)), "TOKEN_SIGNATURE"),
    "signature_other_encoding": (other_encoding, "TOKEN_MALFORMED"),
    # the header
    "typ_missing": (lambda f: f.sign(header(typ=None), claims()), "TOKEN_TYPE"),
    "typ_of_logout_token": (lambda f: f.sign(header(typ="logout+jwt"), claims()), "TOKEN_TYPE"),
    "typ_list": (lambda f: f.sign(header(typ=["JWT"]), claims()), "TOKEN_MALFORMED"),
    "crit": (lambda f: f.sign(header(crit=["exp"]), claims()), "TOKEN_HEADER_REFUSED"),
    "crit_empty": (lambda f: f.sign(header(crit=[]), claims()), "TOKEN_HEADER_REFUSED"),
    "b64": (lambda f: f.sign(header(b64=False), claims()), "TOKEN_HEADER_REFUSED"),
    "zip": (lambda f: f.sign(header(zip="DEF"), claims()), "TOKEN_HEADER_REFUSED"),
    "jku": (lambda f: f.sign(header(jku="https://evil.example"), claims()), "TOKEN_HEADER_REFUSED"),
    "jwk": (with_jwk, "TOKEN_HEADER_REFUSED"),
    "x5u": (lambda f: f.sign(header(x5u="https://evil.example"), claims()), "TOKEN_HEADER_REFUSED"),
    "x5c": (lambda f: f.sign(header(x5c=["MII"]), claims()), "TOKEN_HEADER_REFUSED"),
    "nested": (lambda f: f.sign(header(cty="JWT"), claims()), "TOKEN_HEADER_REFUSED"),
    "kid_number": (lambda f: f.sign(header(kid=1), claims()), "TOKEN_MALFORMED"),
    # who made it, and for whom
    "iss_missing": (lambda f: f.good(iss=None), "TOKEN_ISSUER"),
    "iss_other": (lambda f: f.good(iss="https://evil.example"), "TOKEN_ISSUER"),
    "iss_longer": (lambda f: f.good(iss=ISSUER + ".evil.example"), "TOKEN_ISSUER"),
    "iss_list": (lambda f: f.good(iss=[ISSUER]), "TOKEN_ISSUER"),
    "aud_missing": (lambda f: f.good(aud=None), "TOKEN_AUDIENCE"),
    "aud_other": (lambda f: f.good(aud="billing"), "TOKEN_AUDIENCE"),
    "aud_list_of_us_and_others": (lambda f: f.good(aud=[AUDIENCE, "billing"]), "TOKEN_AUDIENCE"),
    "aud_list_of_us": (lambda f: f.good(aud=[AUDIENCE]), "TOKEN_AUDIENCE"),
    "aud_prefix": (lambda f: f.good(aud="isth"), "TOKEN_AUDIENCE"),
    "aud_upper_case": (lambda f: f.good(aud="ISTHMUS"), "TOKEN_AUDIENCE"),
    # when
    "exp_missing": (lambda f: f.good(exp=None), "TOKEN_CLAIMS"),
    "exp_past": (lambda f: f.good(iat=IAT - 600, exp=IAT - 31), "TOKEN_EXPIRED"),
    "exp_just_past_leeway": (lambda f: f.good(iat=IAT - 600, exp=IAT - 30), "TOKEN_EXPIRED"),
    "exp_in_ten_years": (lambda f: f.good(exp=IAT + 10 * 365 * 86400), "TOKEN_LIFETIME"),
    "exp_a_second_too_long": (lambda f: f.good(exp=IAT + 601), "TOKEN_LIFETIME"),
    "exp_before_iat": (lambda f: f.good(exp=IAT - 1), "TOKEN_LIFETIME"),
    "exp_text": (lambda f: f.good(exp=str(IAT + 300)), "TOKEN_CLAIMS"),
    "exp_float": (lambda f: f.good(exp=IAT + 300.5), "TOKEN_CLAIMS"),
    "exp_true": (lambda f: f.good(exp=True), "TOKEN_CLAIMS"),
    "exp_negative": (lambda f: f.good(exp=-1), "TOKEN_CLAIMS"),
    "exp_huge": (lambda f: f.good(exp=10**300), "TOKEN_CLAIMS"),
    "exp_nan": (lambda f: f.sign(header(), NAN), "TOKEN_MALFORMED"),
    "iat_missing": (lambda f: f.good(iat=None), "TOKEN_CLAIMS"),
    "iat_ahead": (lambda f: f.good(iat=IAT + 31, exp=IAT + 300), "TOKEN_NOT_YET_VALID"),
    "nbf_ahead": (lambda f: f.good(nbf=IAT + 31), "TOKEN_NOT_YET_VALID"),
    "nbf_text": (lambda f: f.good(nbf="tomorrow"), "TOKEN_CLAIMS"),
    # whom it speaks for
    "sub_missing": (lambda f: f.good(sub=None), "TOKEN_CLAIMS"),
    "sub_empty": (lambda f: f.good(sub=""), "SUBJECT_REFUSED"),
    "sub_number": (lambda f: f.good(sub=7), "TOKEN_CLAIMS"),
    "sub_unknown": (lambda f: f.good(sub="somebody"), "SUBJECT_UNKNOWN"),
    "sub_upper_case": (lambda f: f.good(sub="ROOT"), "SUBJECT_UNKNOWN"),
    "sub_longer_than_exact": (lambda f: f.good(sub="root2"), "SUBJECT_UNKNOWN"),
    "sub_bidi": (lambda f: f.good(sub="ci-\u202egnp.exe"), "SUBJECT_REFUSED"),
    "sub_zero_width": (lambda f: f.good(sub="ci-\u200bmain"), "SUBJECT_REFUSED"),
    "sub_line_break": (lambda f: f.good(sub="ci-main\nroot"), "SUBJECT_REFUSED"),
    "sub_nul": (lambda f: f.good(sub="ci-\x00"), "SUBJECT_REFUSED"),
    "sub_space": (lambda f: f.good(sub="ci- main"), "SUBJECT_REFUSED"),
    "sub_lookalike": (lambda f: f.good(sub="ci-m\u0430in"), "SUBJECT_REFUSED"),
    "sub_long": (lambda f: f.good(sub="ci-" + "a" * 253), "SUBJECT_REFUSED"),
    # what it looks like
    "repeated_claim": (repeated_claim, "TOKEN_REPEATS_A_NAME"),
    "repeated_name_inside": (repeated_nested, "TOKEN_REPEATS_A_NAME"),
    "repeated_header": (repeated_header, "TOKEN_REPEATS_A_NAME"),
    "oversized": (lambda f: f.good(padding="a" * 8192), "TOKEN_TOO_LARGE"),
    "deeply_nested": (lambda f: f.sign(header(), "[" * 5000), "TOKEN_MALFORMED"),
    "claims_list": (lambda f: f.sign(header(), "[]"), "TOKEN_MALFORMED"),
    "claims_no_json": (lambda f: f.sign(header(), "{"), "TOKEN_MALFORMED"),
    "claims_not_utf8": (lambda f: ".".join([b64(b'{"alg":"EdDSA"}'), b64(b"\xff"), "AA"]), "TOKEN_MALFORMED"),
    "cut": (cut, "TOKEN_MALFORMED"),
    "padded": (padded, "TOKEN_MALFORMED"),
    "two_parts": (lambda f: f.good().rpartition(".")[0], "TOKEN_MALFORMED"),
    "five_parts_as_encrypted": (lambda f: f.good() + ".AAAA.AAAA", "TOKEN_MALFORMED"),
    "empty": (lambda f: "", "TOKEN_MALFORMED"),
    "line_break_inside": (lambda f: f.good()[:20] + "\n" + f.good()[20:], "TOKEN_MALFORMED"),
    "line_break_behind": (lambda f: f.good() + "\n", "TOKEN_MALFORMED"),
    "space_before": (lambda f: " " + f.good(), "TOKEN_MALFORMED"),
    "space_behind": (lambda f: f.good() + " ", "TOKEN_MALFORMED"),
    "quoted": (lambda f: f'"{f.good()}"', "TOKEN_MALFORMED"),
    "two_tokens": (lambda f: f"{f.good()}, {f.good()}", "TOKEN_MALFORMED"),
    "standard_base64": (lambda f: f.good() + "+/", "TOKEN_MALFORMED"),
}

METADATA: dict[str, tuple[Callable[[str], list[tuple[str, str | bytes]]], str]] = {
    "none": (lambda _: [], "CREDENTIAL_MISSING"),
    "other_entry": (lambda t: [("x-authorization", f"Bearer {t}")], "CREDENTIAL_MISSING"),
    "cookie": (lambda t: [("cookie", f"authorization=Bearer {t}")], "CREDENTIAL_MISSING"),
    "twice": (lambda t: bearer(t) + bearer(t), "CREDENTIAL_REPEATED"),
    "twice_in_other_case": (lambda t: [*bearer(t), ("Authorization", "Bearer x")], "CREDENTIAL_REPEATED"),
    "basic": (lambda t: [("authorization", f"Basic {t}")], "CREDENTIAL_SCHEME"),
    "no_scheme": (lambda t: [("authorization", t)], "CREDENTIAL_SCHEME"),
    "no_space": (lambda t: [("authorization", f"Bearer{t}")], "CREDENTIAL_SCHEME"),
    "tab": (lambda t: [("authorization", f"Bearer\t{t}")], "CREDENTIAL_SCHEME"),
    "two_spaces": (lambda t: [("authorization", f"Bearer  {t}")], "TOKEN_MALFORMED"),
    "space_before_scheme": (lambda t: [("authorization", f" Bearer {t}")], "CREDENTIAL_SCHEME"),
    "bytes": (lambda t: [("authorization", f"Bearer {t}".encode())], "CREDENTIAL_SCHEME"),
    "scheme_only": (lambda _: [("authorization", "Bearer ")], "TOKEN_MALFORMED"),
    "empty": (lambda _: [("authorization", "")], "CREDENTIAL_SCHEME"),
}


@pytest.fixture
def forge() -> Forge:
    """An issuer that the gateway believes."""
    return Forge()


@pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_token_is_refused_when_forged(forge: Forge, make: Make, reason: str) -> None:
    """A token that is anything but what the profile says is refused, for that reason."""
    with pytest.raises(UnauthenticatedError) as refused:
        forge.authenticator().authenticate(bearer(make(forge)))
    assert refused.value.reason == reason


@pytest.mark.parametrize(("wrap", "reason"), METADATA.values(), ids=METADATA.keys())
def test_credential_is_refused_when_it_is_not_one_bearer_token(
    forge: Forge, wrap: Callable[[str], list[tuple[str, str | bytes]]], reason: str
) -> None:
    """A good token in the wrong place, twice or under another scheme opens nothing."""
    with pytest.raises(UnauthenticatedError) as refused:
        forge.authenticator().authenticate(wrap(forge.good()))
    assert refused.value.reason == reason


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_token_is_accepted_when_good(forge: Forge, scheme: str) -> None:
    """The token that all the others differ from is accepted; the scheme's case does not count (RFC 9110)."""
    principal = forge.authenticator().authenticate([("authorization", f"{scheme} {forge.good()}")])
    assert principal.name == "data-team/ci-main"
    assert not principal.platform


def test_token_is_refused_when_it_was_accepted_before_and_expired(forge: Forge) -> None:
    """Remembering a token does not make it live longer."""
    authenticator = forge.authenticator()
    token = forge.good()
    authenticator.authenticate(bearer(token))
    forge.clock.time = NOW + timedelta(seconds=330)
    with pytest.raises(UnauthenticatedError) as refused:
        authenticator.authenticate(bearer(token))
    assert refused.value.reason == "TOKEN_EXPIRED"


def jwks(**keys: ed25519.Ed25519PrivateKey) -> str:
    """Return a JWKS of the keys by their ids."""
    return json.dumps(
        {
            "keys": [
                {
                    "kty": "OKP",
                    "crv": "Ed25519",
                    "kid": name,
                    "x": b64(key.public_key().public_bytes_raw()),
                }
                for name, key in keys.items()
            ]
        }
    )


def test_token_is_refused_when_its_key_was_removed(forge: Forge, tmp_path: Path) -> None:
    """A removed key stops working within a second, for tokens that were accepted before too."""
    file = tmp_path / "jwks.json"
    file.write_text(jwks(old=forge.key, new=STRANGER), encoding="utf-8")
    authenticator = forge.authenticator(KeyFile(file, algorithm="EdDSA", jwks=True))
    token = forge.sign(header(kid="old"), claims())
    assert authenticator.authenticate(bearer(token)).subject == "ci-main"
    file.write_text(jwks(new=STRANGER), encoding="utf-8")
    forge.clock.time += timedelta(seconds=1)
    with pytest.raises(UnauthenticatedError) as refused:
        authenticator.authenticate(bearer(token))
    assert refused.value.reason == "TOKEN_KEY_UNKNOWN"


@pytest.mark.parametrize("changes", [{}, {"kid": "other"}, {"kid": ""}, {"kid": "../old"}])
def test_token_is_refused_when_it_names_no_key_of_the_set(
    forge: Forge, tmp_path: Path, changes: dict[str, str]
) -> None:
    """With a set of keys, a token says by which one; nothing is tried out."""
    file = tmp_path / "jwks.json"
    file.write_text(jwks(old=forge.key), encoding="utf-8")
    authenticator = forge.authenticator(KeyFile(file, algorithm="EdDSA", jwks=True))
    with pytest.raises(UnauthenticatedError) as refused:
        authenticator.authenticate(bearer(forge.sign(header(**changes), claims())))
    assert refused.value.reason == "TOKEN_KEY_UNKNOWN"


def test_token_is_refused_when_a_byte_of_it_changes(forge: Forge) -> None:
    """No mutation of a good token is accepted."""
    token = forge.good()
    authenticator = forge.authenticator()
    draw = random.Random(7)  # noqa: S311 - the same mutations every time
    for _ in range(2000):
        place = draw.randrange(len(token))
        other = draw.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
        mutated = token[:place] + other + token[place + 1 :]
        if mutated != token:
            with pytest.raises(UnauthenticatedError):
                authenticator.authenticate(bearer(mutated))
