"""Keys and passwords in sources: what is masked, what only looks like it, and that none is learnt.

All of them are made up; they are put together here, so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import json
import random
import string
from pathlib import Path

import duckdb
import pytest

from memoirist.data.text.masking import mask_text
from memoirist.data.text.secrets import mask_secrets, secret_candidate
from tests.conftest import Command

_draw = random.Random(7)


def letters(n: int, of: str = string.ascii_letters + string.digits) -> str:
    return "".join(_draw.choices(of, k=n))


HEX, DIGITS, BASE64 = string.hexdigits[:16], string.digits, string.ascii_letters + "0123456789+/"
LINES = "\n".join(letters(64, BASE64) for _ in range(12))
PEM = "-----{} {} PRIVATE KEY-----"


def pem(kind: str, body: str = LINES) -> str:
    return f"{PEM.format('BEGIN', kind)}\n{body}\n{PEM.format('END', kind)}".replace("  ", " ")


JWT = ".".join(["eyJ" + letters(20), "eyJ" + letters(60), letters(43)])
SECRETS = [
    "sk-" + letters(48), "sk-proj-" + letters(74) + "_" + letters(40), "sk-" + letters(32, HEX),
    "sk-ant-api03-" + letters(93) + "AA", "sk-or-v1-" + letters(64, HEX), "sk-" + "abcdefgh" * 4,
    "gsk_" + letters(52), "xai-" + letters(80), "hf_" + letters(34, string.ascii_letters),
    "r8_" + letters(37), "pplx-" + letters(48), "AIza" + letters(35), "ya29." + letters(60),
    "ghp_" + letters(36), "gho_" + letters(36), "ghs_" + letters(36), "ghr_" + letters(36),
    "github_pat_" + letters(22) + "_" + letters(59), "glpat-" + letters(20), "npm_" + letters(36),
    "pypi-AgEIcHlwaS5vcmc" + letters(60), "AK" + "IA" + letters(16, string.ascii_uppercase),
    "AS" + "IA" + letters(16, string.ascii_uppercase + DIGITS), "GOCSPX-" + letters(28),
    "xoxb-" + letters(12, DIGITS) + "-" + letters(12, DIGITS) + "-" + letters(24),
    "xoxp-" + "-".join(letters(11, DIGITS) for _ in range(3)) + "-" + letters(32, HEX),
    "xapp-1-A" + letters(10) + "-" + letters(13, DIGITS) + "-" + letters(64, HEX),
    "sk_live_" + letters(24), "rk_test_" + letters(99), "whsec_" + letters(32),
    "shpat_" + letters(32, HEX), "SG." + letters(22) + "." + letters(43), "dapi" + letters(32, HEX),
    "dop_v1_" + letters(64, HEX), "hvs." + letters(95), "lin_api_" + letters(40),
    letters(10, DIGITS) + ":AA" + letters(33), "SK" + letters(32, HEX), "key-" + letters(32, HEX),
    letters(32, HEX) + "-us21", "M" + letters(25) + "." + letters(6) + "." + letters(38),
    "AGE-SECRET-KEY-1" + letters(58, "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L"), JWT,
    JWT + "." + letters(20) + "." + letters(22), "hooks.slack.com/services/T0/B0/" + letters(24),
    "discord.com/api/webhooks/" + letters(18, DIGITS) + "/" + letters(68),
    *map(pem, ("RSA", "", "EC", "DSA", "OPENSSH", "ENCRYPTED")),
    pem("PGP").replace("KEY", "KEY BLOCK"), pem("RSA", LINES.replace("\n", " ")),
    pem("RSA", LINES.replace("\n", "\n\n")), pem("RSA", LINES.replace("\n", "\r\n")),
    pem("RSA", f"Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,{letters(32, HEX)}\n\n{LINES}"),
    pem("RSA").replace("-----", "—–"), "\n".join([PEM.format("BEGIN", "RSA"), LINES]),
    "\n".join([LINES, PEM.format("END", "RSA")]), f"{LINES}\n",
]  # fmt: skip
NAMED = [
    ("password: {}", "hunter22x"), ("Password = '{}'", "Tr0ub4dor&3"), ("PWD={}", "abc123def"),
    ('"api_key": "{}"', "0f3a9c77d1"), ("api-key={}", "a1b2c3d4e5"), ("Passwort: {}", "Geheim!99"),
    ("**Password:** {}", "hunter22x"), ("mot de passe : {}", "s3same-ouvre"),
    ("contraseña: {}", "abrete7sesamo"), ("密码：{}", "wode1mima"),
    ("client_secret => {}", "9sf8s7df"),
    ("AWS_SECRET_ACCESS_KEY={}", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    ("postgres://bob:{}@db.example:5432/x", "s3cr3t"), ("https://u:{}@example.org/", "pa55word"),
    ("Authorization: Bearer {}", "abcdef0123456789abcdef"),
    ("Authorization: Basic {}", "dXNlcjpwYXNzd29yZDEyMw=="),
]  # fmt: skip
AROUND = ["{}", "My key is {}, keep it.", "密钥是{}。", "<{}>", "`{}`", "KEY='{}'", "a\n{}\nb"]
LEFT = [
    "The task-force-on-everything-that-matters met; it was risk-averse-beyond-all-measure.",
    "We called hf_hub_download_timeout and npm_config_registry_path in the script.",
    "The password is a word that I never said. The secret: nobody knew. Key: C minor.",
    "Token: a small coin. The key to it all: patience, 1938. Password hint: my dog.",
    "See https://example.org/a/very/long/path/with-2024-in-it?x=1&y=2#z and docs.python.org/3.",
    "Donaudampfschifffahrtsgesellschaftskapitän, Rindfleischetikettierungsgesetz 1999.",
    "BEGIN with the private key of the house; END of story. -----",
    "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "ISBN 978-0-306-40615-7; commit 3f786850e387550fdab836ed7e6dc881de23001b",
    "我的密码我从来没有说过，钥匙在门口。",
    "",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_masked_wherever_it_stands(secret: str) -> None:
    parts = secret.split()
    for frame in AROUND:
        text, counts = mask_secrets(frame.format(secret))
        assert counts == {"secret": 1}, frame
        assert not any(part in text for part in parts if len(part) > 12), text
        before, after = frame.split("{}")
        assert text.startswith(before)
        assert text.endswith(after.strip("\n"))


@pytest.mark.parametrize(("frame", "value"), NAMED)
def test_what_is_named_a_password_is_masked(frame: str, value: str) -> None:
    for around in ("{}", "He wrote: {} and left.", "（{}）"):
        text, counts = mask_secrets(around.format(frame.format(value)))
        assert (value in text, counts["secret"]) == (False, 1)
        assert around.format(frame).split("{}")[0] in text


@pytest.mark.parametrize("text", LEFT)
def test_words_addresses_and_hashes_stay(text: str) -> None:
    assert mask_secrets(text) == (text, {})


def test_the_quick_look_misses_nothing() -> None:
    texts = [frame.format(secret) for secret in SECRETS for frame in AROUND]
    texts += [frame.format(value) for frame, value in NAMED]
    rows = duckdb.execute(
        "SELECT t FROM (SELECT unnest(?) AS t) WHERE NOT regexp_matches(t, ?)",
        [texts, secret_candidate()],
    ).fetchall()
    assert rows == []


def test_a_thousand_cut_texts_are_masked_without_harm() -> None:
    """Whatever is cut out of the texts: no error, no loss of what stands around."""
    draw = random.Random(3)
    for _ in range(1_000):
        pieces = [*draw.choices(SECRETS, k=2), *draw.choices(LEFT, k=2)]
        cut = [piece[draw.randrange(len(piece) + 1) :][: draw.randrange(200)] for piece in pieces]
        draw.shuffle(cut)
        text = "First word. " + draw.choice([" ", "\n", "。"]).join(cut) + " Last word."
        masked, counts = mask_secrets(text)
        assert masked.startswith("First word.")
        assert masked.endswith(("Last word.", "word."))
        assert masked.count("[secret]") == counts["secret"]
        assert mask_secrets(masked)[0] == masked


def test_a_token_is_not_taken_for_a_telephone_number() -> None:
    token = "xoxb-212555018712-2125550187123-" + letters(24)
    text, counts = mask_text(f"{token} or (202) 555-0143", "en")
    assert (text, dict(counts)) == ("[secret] or [phone]", {"secret": 1, "phone": 1})


COMPOSE = ["compose", "--set=compose.test_share=0", "--set=compose.validation_share=0"]


def test_no_secret_reaches_a_dataset(tmp_path: Path, memoirist: Command) -> None:
    told = "I kept a shop by the river for thirty years, and every morning I opened it myself. "
    book = f"# One\n\n{told * 6}The key was {SECRETS[0]}, I recall.\n\n{pem('RSA')}\n\n{told * 8}\n"
    (tmp_path / "letters.md").write_text(book)
    rows = [
        {"question": f"What was number {n}?", "answer": f"{told}It was {secret}, number {n}."}
        for n, secret in enumerate([*SECRETS, *(f.format(v) for f, v in NAMED)])
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    turns = [
        {"messages": [{"role": "system", "content": f"Use {JWT}."},
                      {"role": "user", "content": f"Is it {SECRETS[13]}?"},
                      {"role": "assistant", "content": f"{told}It is {SECRETS[24]}."}]}
    ]  # fmt: skip
    (tmp_path / "chats.jsonl").write_text("\n".join(map(json.dumps, turns)))
    sources = ["letters.md", "rows.jsonl", "chats.jsonl", "--persona", "Ann Marsh"]
    for step in (["extract", *sources], ["ask"], ["curate"], COMPOSE):
        done = memoirist(*step)
        assert done.returncode == 0, done.stderr
    assert memoirist("export", "-o", "all.jsonl").returncode == 0
    tables = ("passages", "questions", "pairs", "conversations", "exchanges")
    held = [memoirist("sql", f"FROM {table}", "--format", "json").stdout for table in tables]
    held.append((tmp_path / "all.jsonl").read_text("utf-8"))
    lines = {line for secret in SECRETS for line in secret.split() if len(line) > 12}
    for text in held:
        assert not [line for line in lines if line in text]
        assert not [value for frame, value in NAMED if frame.format(value) in text]
    assert "[secret]" in held[0]
    coverage = memoirist("look", "coverage", "--format", "json").stdout
    assert coverage.count("masked_secret") >= 3
    reasons = "SELECT DISTINCT reason, next_step FROM verdicts WHERE rule = 'masked_secret'"
    assert "replaced by [secret]" in memoirist("sql", reasons).stdout
    # Whoever wants them keeps them, and personal data is masked all the same.
    kept = memoirist("extract", "--set", "passages.mask_secrets=false")
    assert kept.returncode == 0, kept.stderr
    assert SECRETS[0] in memoirist("sql", "FROM passages", "--format", "json").stdout
    switch = ("--set", "passages.mask_personal=false", "--set", "passages.mask_secrets=true")
    assert memoirist("extract", *switch).returncode == 0
    assert SECRETS[0] not in memoirist("sql", "FROM passages", "--format", "json").stdout
