"""A registered secret is found in every form that programs give it, and in pieces; clean text stays as it is."""

from __future__ import annotations

import base64
import html
import json
import random
import re
import shlex
import string
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitops_nb.errors import UsageError
from gitops_nb.redaction import Redactor, StreamRedactor, pattern_in
from gitops_nb.redaction.patterns import RULES

SECRET = 'cor/rect+horse "battery" $taple\\42é'


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


HTML_LIKE = "tok&Zq8<vW2>kLx9'4+Rt;n=m-p"

ENCODINGS = {
    "raw": SECRET,
    "json": json.dumps({"password": SECRET}),
    "json, not ascii": json.dumps({"password": SECRET}, ensure_ascii=False),
    "json in json": json.dumps(json.dumps({"password": SECRET})),
    "repr": repr(SECRET),
    "repr of bytes": repr(SECRET.encode()),
    "url": quote(SECRET),
    "url, all": quote(SECRET, safe=""),
    "url, form": quote_plus(SECRET),
    "url, lower case": quote(SECRET, safe="").lower(),
    "html": html.escape(SECRET),
    "html, no quotes": html.escape(SECRET, quote=False),
    "html, decimal": "".join(f"&#{ord(c)};" for c in SECRET),
    "shell": shlex.quote(SECRET),
    "shell, double quotes": SECRET.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$"),
    "hex": SECRET.encode().hex(),
    "hex, upper case": SECRET.encode().hex().upper(),
    "reversed": SECRET[::-1],
    "base64 at 0": _b64(SECRET + "tail"),
    "base64 at 1": _b64("u:" + "v:" + SECRET),
    "base64 at 2": _b64("user:" + SECRET + "\n"),
    "base64 at 0 behind three": _b64("abc" + SECRET),
    "base64, url alphabet": base64.urlsafe_b64encode(SECRET.encode()).decode(),
    "base64 of base64": _b64(_b64(SECRET)),
    "base64 of utf-16": base64.b64encode(SECRET.encode("utf-16-le")).decode(),
    "base32": base64.b32encode(SECRET.encode()).decode(),
    "unicode escapes": "".join(f"\\u{ord(c):04x}" for c in SECRET),
    "unicode escapes, upper case": "".join(f"\\u{ord(c):04X}" for c in SECRET),
    "json of Go": json.dumps({"password": HTML_LIKE}).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"),
    "json of .NET": '{"p":"' + "".join(c if c.isalnum() or c in ";=-" else f"\\u{ord(c):04X}" for c in HTML_LIKE) + '"}',
    "html, named": html.escape(HTML_LIKE).replace("&#x27;", "&apos;"),
    "html, hexadecimal in upper case": "".join(f"&#x{ord(c):X};" for c in SECRET),
    "url in a url": quote(quote(SECRET, safe=""), safe=""),
    "url, every byte": "".join(f"%{b:02x}" for b in SECRET.encode()),
    "bytes of Go": str(list(SECRET.encode())).replace(",", ""),
    "bytes of Python": str(list(SECRET.encode())),
    "bytes of C": ", ".join(f"0x{b:02x}" for b in SECRET.encode()),
    "octal": "".join(f"\\{b:03o}" for b in SECRET.encode()),
    "hex of openssl": SECRET.encode().hex(":").upper(),
    "hex of utf-16": SECRET.encode("utf-16-le").hex(),
    "base32, lower case": base64.b32encode(SECRET.encode()).decode().lower(),
    "base64 of utf-16, big end first": base64.b64encode(SECRET.encode("utf-16-be")).decode(),
    "base64 of json": _b64(json.dumps({"password": HTML_LIKE + SECRET})),
    "ascii85": base64.a85encode(SECRET.encode()).decode(),
    "base85": base64.b85encode(SECRET.encode()).decode(),
}  # fmt: skip
HIDDEN = {
    "coloured": SECRET[:9] + "\x1b[31m" + SECRET[9:] + "\x1b[0m",
    "wrapped": SECRET[:12] + "\n    " + SECRET[12:],
    "spaced": " ".join(SECRET),
    "zero width": "\u200b".join(SECRET),
    "thin spaces": "\u2009".join(SECRET),
    "without width": "\ufe0f".join(SECRET),
    "dashes": "-".join(SECRET),
    "a list of characters": str(list(SECRET)),
    "a list of lines": str([SECRET[:11], SECRET[11:]]),
    "another case": SECRET.upper(),
    "full width": "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in SECRET),
    "added up": "' + '".join([SECRET[:8], SECRET[8:15], SECRET[15:]]),
    "a diff": "+ " + SECRET[:14] + "\n+ " + SECRET[14:],
    "base64 in lines": "\n".join(_b64("x" * 50 + SECRET)[i : i + 20] for i in range(0, 130, 20)),
}


def _known() -> Redactor:
    redactor = Redactor()
    redactor.register("sm://p/db", SECRET)
    redactor.register("sm://p/db", HTML_LIKE)
    return redactor


def test_there_are_as_many_forms_as_before():
    """The lists do not shrink unseen."""
    assert len(ENCODINGS) >= 45
    assert len(HIDDEN) >= 14


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_is_masked(encoding):
    """The secret's form is replaced by its name, and what stands around it stays."""
    redactor = _known()
    shown = redactor.text(f"before {ENCODINGS[encoding]} after")
    assert "[secret sm://p/db]" in shown
    assert shown.startswith("before ")
    assert shown.endswith(" after")
    assert redactor.tripped == ()
    assert SECRET[4:12] not in shown


@pytest.mark.parametrize("form", HIDDEN)
def test_what_cannot_be_masked_is_withheld(form):
    """A secret that is spread out can still be read: the whole text is withheld, and the redactor says so."""
    redactor = _known()
    assert redactor.text(f"before {HIDDEN[form]} after").startswith("[withheld")
    assert redactor.tripped == ("sm://p/db",)


@pytest.mark.parametrize("encoding", ["raw", "base64 at 1", "url, all", "json"])
def test_a_secret_in_two_pieces_is_masked(encoding):
    """Whatever the place where a stream is cut, no piece and no two pieces show the secret."""
    text = f"before {ENCODINGS[encoding]} after\n"
    whole = _known().text(text)
    for cut in range(len(text) + 1):
        stream = StreamRedactor(_known())
        shown = stream.feed(text[:cut]) + stream.feed(text[cut:]) + stream.flush()
        assert shown == whole, cut


SPREAD = {
    "a line each": [f"{c}\n" for c in SECRET],
    "blanks between": [f"{c} " for c in SECRET],
    "a colour each": [f"\x1b[3{i % 8}m{c}" for i, c in enumerate(SECRET)],
    "colours cut in two": [part for c in SECRET for part in ("\x1b[3", f"1m{c}")],
    "carriage returns": [f"{c}\r" for c in SECRET],
    "two lines": [SECRET[:11] + "\n", SECRET[11:] + "\n"],
    "base64 by the line": [_b64("x" * 50 + SECRET)[i : i + 20] + "\n" for i in range(0, 130, 20)],
}


@pytest.mark.parametrize("way", SPREAD)
def test_a_secret_spread_over_messages_is_withheld(way):
    """Each message alone is harmless; together, without blanks and colours, they would show it."""
    redactor = _known()
    stream = StreamRedactor(redactor)
    pieces = ["before\n", *SPREAD[way], "after\n"]
    shown = "".join(stream.feed(piece) for piece in pieces) + stream.flush()
    assert redactor.tripped == ("sm://p/db",)
    bare = "".join(c for c in re.sub(r"\x1b\[[0-9;]*m", "", shown) if not c.isspace())
    assert SECRET[:6] not in bare
    assert _b64("x" * 50 + SECRET)[70:90] not in bare
    assert shown.startswith("before\n")


@given(st.lists(st.text(alphabet="ab \n\x1b[31m\\\r", max_size=8), max_size=12))
def test_what_is_waited_for_comes_in_the_end(pieces):
    """A stream that looks like the beginning of a secret again and again loses nothing, and keeps its order."""
    redactor = Redactor()
    redactor.register("s", "ab1mab3[ab1mab3[")
    stream = StreamRedactor(redactor)
    text = "".join(pieces)
    shown = "".join(stream.feed(piece) for piece in pieces) + stream.flush()
    assert shown == text or redactor.tripped


def test_words_are_no_token():
    """A value that is made of words, as documents of credentials have them, does not stop whoever says these words."""
    redactor = Redactor()
    redactor.register(
        "sa", json.dumps({"type": "service_account", "key": "tr0ub4dor&3-tr0ub4dor&4"})
    )
    redactor.register("weak", "checkout-production-account")
    assert redactor.text("kind: ServiceAccount") == "kind: ServiceAccount"
    assert redactor.text("Checkout Production/account") == "Checkout Production/account"
    assert redactor.tripped == ()


def test_a_secret_letter_by_letter_is_masked():
    """One character a message is the worst cut of all."""
    stream = StreamRedactor(_known())
    text = f"a{SECRET}b{SECRET}"
    shown = "".join(stream.feed(character) for character in text) + stream.flush()
    assert shown == "a[secret sm://p/db]b[secret sm://p/db]"


def test_lines_of_a_key_and_leaves_of_a_document_are_secrets():
    """A PEM key is known by each line of it, a structured secret by each of its values."""
    redactor = Redactor()
    lines = ["MIIEvQIBADANBgkqhkiG9w0", "BAQEFAASCBKcwggSjAgEAAo"]
    redactor.register(
        "key", "-----BEGIN PRIVATE KEY-----\n" + "\n".join(lines) + "\n-----END PRIVATE KEY-----\n"
    )
    redactor.register("sa", json.dumps({"client": {"secret": "tr0ub4dor&3"}, "port": 5432}))
    assert redactor.text(f"only {lines[1]}") == "only [secret key]"
    assert redactor.text("tr0ub4dor&3 on 5432") == "[secret sa] on 5432"


def test_json_is_masked_wherever_a_text_stands():
    """Values, names of members, nested lists; numbers and structure stay."""
    shown = _known().json({"a": [1, {SECRET: [SECRET, None, True]}], "b": SECRET.encode()})
    assert SECRET not in json.dumps(shown, default=repr, ensure_ascii=False)
    assert shown["a"][1] == {"[secret sm://p/db]": ["[secret sm://p/db]", None, True]}
    assert shown["b"] == b""


def test_find_names_the_secret_and_the_pattern():
    """What must not be recorded at all is named, whether it is known or only looks like one."""
    redactor = _known()
    assert redactor.find({"a": [{"b": _b64(SECRET)}]}) == "sm://p/db"
    assert redactor.find({"a": "ghp_" + "a1" * 20}) == "GitHub token"
    assert redactor.find({"a": ["checkout", 7, None]}) is None


@pytest.mark.parametrize("value", ["", "1234567", "   a   b", "x\n\n\n\n\n\n\n\n"])
def test_a_short_secret_is_refused(value):
    """Fewer than eight characters cannot be masked; the error does not show them, nothing is registered."""
    redactor = Redactor()
    with pytest.raises(UsageError, match="fewer than 8") as caught:
        redactor.register("env://PIN", value)
    assert not value.strip() or value.strip() not in caught.value.message
    assert redactor.is_empty


SAMPLES = {
    "private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
    "AWS access key": "AKIAIOSFODNN7EXAMPLE",
    "AWS secret key": "aws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEYzz",
    "GitHub token": "ghp_" + "a1B2" * 9,
    "GitHub fine-grained token": "github_pat_" + "a1B2_" * 8,
    "GitLab token": "glpat-" + "a1B2c" * 4,
    "Slack token": "xoxb-" + "1234567890-abc",
    "Slack webhook": "https://hooks.slack.com/services/" + "T0AB/B0CD/" + "x1y2" * 6,
    "JSON web token": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0." + "dozjgNryP4J3jVmNHl0w5N",
    "Google API key": "AIza" + "SyA1b2C" * 5,
    "Google access token": "ya29." + "a0AfH6" * 5,
    "Google client secret": "GOCSPX-" + "a1B2c3" * 4,
    "Vault token": "hvs." + "CAESI" * 6,
    "npm token": "npm_" + "a1B2" * 9,
    "PyPI token": "pypi-" + "AgEIc" * 11,
    "Stripe key": "sk_live_" + "a1B2" * 6,
    "SendGrid key": "SG." + "a1B2" * 5 + "." + "c3D4" * 8,
    "Azure storage key": "AccountKey=" + "a1B2" * 21 + "==",
    "password in an address": "postgres://checkout:hunter2@db.example/orders",
    "authorization header": "Authorization: Bearer abcdef.123456",
    "age key": "AGE-SECRET-KEY-1" + "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7LQPZRY9X8GF2TVDW0S3JN54",
}  # fmt: skip


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_a_pattern_is_masked_without_being_registered(rule):
    """Each family of tokens is recognised, and named in place of the token."""
    sample = SAMPLES[rule]
    assert pattern_in(f"x {sample} y") == rule
    shown = Redactor().text(f"x {sample} y")
    assert f"[{rule}]" in shown
    assert sample not in shown


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
@pytest.mark.parametrize("before", ["\\n", "\\t", "\\u0026", "%3D", '"', "="])
def test_a_pattern_is_found_behind_an_escape(rule, before):
    """The letter that an escape ends with is no part of a word that the token would stand in."""
    assert pattern_in(f"x{before}{SAMPLES[rule]} y") == rule


@given(st.text(max_size=300))
def test_text_without_secrets_stays_as_it_is(text):
    """Redaction changes nothing else: not a blank, not an escape."""
    redactor = Redactor()
    redactor.register("s", "Zq9#vR2!xT7@mK4$")
    assert redactor.text(text) == text
    stream = StreamRedactor(redactor)
    assert stream.feed(text) + stream.flush() == text


def test_overlapping_secrets_leave_nothing():
    """Where two secrets overlap, neither's rest is shown."""
    redactor = Redactor()
    redactor.register("a", "alpha-bravo-charlie")
    redactor.register("b", "charlie-delta-echo")
    assert redactor.text("<alpha-bravo-charlie-delta-echo>") == "<[secret a]>"


def test_many_secrets_in_much_text_are_found_each():
    """200 secrets in 2 MB: each is masked, everything else is untouched."""
    generator = random.Random(7)
    letters = string.ascii_letters + string.digits
    secrets = ["".join(generator.choices(letters, k=24)) for _ in range(200)]
    redactor = Redactor()
    for number, secret in enumerate(secrets):
        redactor.register(f"s{number}", secret)
    words = [generator.choice(("deploy", "checkout", "to", "production")) for _ in range(250_000)]
    for number, secret in enumerate(secrets):
        words[number * 1000] = secret
    shown = redactor.text(" ".join(words)).replace("[secret ", "").replace("]", "").split(" ")
    assert shown == [
        f"s{n // 1000}" if n % 1000 == 0 and n < 200_000 else w for n, w in enumerate(words)
    ]


def test_what_was_masked_is_counted_by_what_found_it():
    """Secrets by name, patterns by rule, and what was withheld; other text counts nothing."""
    redactor = Redactor()
    redactor.register("env://TOKEN", "s3cr3t-value-of-the-run")
    redactor.text("nothing to see here at all")
    assert redactor.counts == {}
    redactor.text("s3cr3t-value-of-the-run and s3cr3t-value-of-the-run")
    redactor.text("git clone https://bot:hunter22@git.example/x")
    redactor.text("s3cr3t-value-\nof-the-run")
    assert redactor.counts == {
        "password in an address": 1,
        "secret env://TOKEN": 2,
        "withheld": 1,
    }
