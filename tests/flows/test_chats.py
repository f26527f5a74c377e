"""Chats from the export to the passages: the persona, what is asked, and the others' consent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Command
from tests.extractors.test_whatsapp import FILES
from tests.support.chats import ADA, TOM, put, telegram, whatsapp

QUESTIONS = [
    "How did you start at the mill?",
    "Were you paid for the sweeping?",
    "What did your mother think of it?",
]


def rows(memoirist: Command, query: str) -> list[dict[str, Any]]:
    done = memoirist("sql", query, "--format", "json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def asked(memoirist: Command) -> list[str]:
    query = (
        "SELECT q.text FROM passages p JOIN questions q ON q.passage_id = p.id"
        " WHERE q.origin = 'spoken' ORDER BY p.document_id, p.ord"
    )
    return [row["text"] for row in rows(memoirist, query)]


@pytest.mark.parametrize("name", ["whatsapp_android.txt", "whatsapp_ios.txt", "telegram_one.json"])
def test_the_persona_answers_what_the_other_asks(memoirist: Command, name: str) -> None:
    done = memoirist("extract", str(FILES / name), "--persona", ADA)
    assert done.returncode == 0, done.stderr
    assert asked(memoirist)[:3] == QUESTIONS
    assert len(asked(memoirist)) == 6
    passages = rows(memoirist, "SELECT DISTINCT speaker FROM passages")
    assert passages == [{"speaker": ADA}]
    (second,) = rows(memoirist, "SELECT text FROM passages WHERE ord = 1")
    assert "Four shillings a week" in second["text"]
    assert "hot dinner on Fridays" in second["text"]
    counts = rows(memoirist, "SELECT found, kept + dropped AS n FROM coverage")
    assert all(row["found"] == row["n"] for row in counts)
    again = memoirist("extract")
    assert "nothing new in 1 source" in again.stderr + again.stdout


def test_an_account_gives_every_chat_and_no_words_of_its_own(
    memoirist: Command, tmp_path: Path
) -> None:
    done = memoirist("extract", str(FILES / "telegram_account.json"), "--persona", ADA)
    assert done.returncode == 0, done.stderr
    titles = rows(memoirist, "SELECT title FROM documents ORDER BY title")
    assert [row["title"] for row in titles] == ["Club, 2023-05-17", "Tom Reed, 2023-05-17"]
    texts = [row["text"] for row in rows(memoirist, "SELECT text FROM blocks")]
    assert not [text for text in texts if "export" in text or "requested" in text]
    assert "2 chats, turns of Tom Reed, Ada Marrow" in done.stdout + done.stderr


def test_who_the_persona_is_holds_for_the_whole_export(memoirist: Command, tmp_path: Path) -> None:
    """Another Ada in another chat is not the persona, and a chat without the persona no fault."""
    other = json.loads(json.dumps(telegram("Ada")).replace(ADA, "Ada"))
    account = {"chats": {"list": [telegram(id=1), {**other, "id": 2}]}, "contacts": {"list": []}}
    path = put(tmp_path / "result.json", account)
    done = memoirist("extract", str(path), "--persona", ADA)
    assert done.returncode == 0, done.stderr
    assert "no speaker is" not in done.stderr + done.stdout
    assert {row["speaker"] for row in rows(memoirist, "SELECT speaker FROM passages")} == {ADA}
    verdicts = rows(memoirist, "SELECT count(*) AS n FROM verdicts WHERE rule = 'persona_silent'")
    assert verdicts == [{"n": 6}]


def test_an_unknown_persona_is_told_with_the_names(memoirist: Command, tmp_path: Path) -> None:
    text = whatsapp().replace(ADA, "Mum")
    text += "19/05/2023, 10:00 - Mum: Another day, another conversation of the same chat.\n"
    path = put(tmp_path / "chat.txt", text)
    done = memoirist("extract", str(path), "--persona", ADA)
    told = [line for line in done.stderr.splitlines() if "no speaker is" in line]
    assert len(told) == 1
    assert "'Chat': no speaker is called 'Ada Marrow': Mum 75 %, Tom Reed 24 %" in told[0]
    assert "--speaker 'LABEL=Ada Marrow'" in told[0]
    done = memoirist("extract", "--speaker", f"Mum={ADA}")
    assert done.returncode == 0, done.stderr
    assert asked(memoirist) == QUESTIONS


def test_short_answers_of_a_newcomer_stay(memoirist: Command, tmp_path: Path) -> None:
    talk = [
        (TOM, "Where are you?"),
        (ADA, "Down at the mill again"),
        (TOM, "ok"),
        (TOM, "The river is up again"),
        (ADA, "Then carry the flour to the loft before dark"),
        (TOM, "Lovely weather though"),
        (ADA, "It is indeed"),
        (TOM, "When do you eat?"),
        (ADA, "Six"),
        (TOM, "😂"),
        (ADA, "As my mother always did, with the lamp in the window."),
    ]
    text = "".join(f"17/05/2023, 21:{n:02} - {who}: {what}\n" for n, (who, what) in enumerate(talk))
    done = memoirist("extract", str(put(tmp_path / "chat.txt", text)), "--persona", ADA)
    assert done.returncode == 0, done.stderr
    query = "SELECT text FROM passages ORDER BY ord"
    assert [row["text"] for row in rows(memoirist, query)] == [
        talk[1][1],
        talk[4][1],
        f"{talk[8][1]}\n\n{talk[10][1]}",
    ]
    assert asked(memoirist) == [talk[0][1], f"ok\n{talk[3][1]}", talk[7][1]]
    faults = rows(memoirist, "SELECT rule, next_step FROM verdicts WHERE rule = 'short_answer'")
    assert faults == [
        {
            "rule": "short_answer",
            "next_step": "lower passages.min_chat_words in the recipe to keep it",
        }
    ]


def test_a_long_pause_begins_an_answer_of_its_own(memoirist: Command, tmp_path: Path) -> None:
    later = "We carried every sack of flour up to the loft before the water came into the yard."
    text = (
        f"17/05/2023, 10:00 - {TOM}: Where are you?\n17/05/2023, 10:01 - {ADA}: Down at the mill\n"
    )
    text += f"17/05/2023, 15:00 - {ADA}: {later}\n"
    done = memoirist("extract", str(put(tmp_path / "chat.txt", text)), "--persona", ADA)
    assert done.returncode == 0, done.stderr
    found = rows(memoirist, "SELECT text FROM passages ORDER BY ord")
    assert [row["text"] for row in found] == ["Down at the mill", later]
    assert asked(memoirist) == ["Where are you?"]


def test_the_ledger_asks_for_the_consent_of_the_others(memoirist: Command, tmp_path: Path) -> None:
    path = put(tmp_path / "chat.txt", whatsapp())
    done = memoirist("extract", str(path), "--persona", ADA)
    told = [line for line in done.stderr.splitlines() if "consent" in line]
    assert len(told) == 1
    assert "it contains other people's words, and their consent is not recorded" in told[0]
    assert "--rights own-work --consent 'by whom, when'" in told[0]
    assert memoirist("rights", "--check").returncode == 1
    note = ("--rights", "own-work", "--consent", "Tom Reed, by letter, 2026-11-01")
    assert memoirist("rights", "chat.txt", *note).returncode == 0
    assert memoirist("rights", "--check").returncode == 0
    assert "consent" not in memoirist("extract").stderr


def test_nothing_unmasked_reaches_the_store(memoirist: Command, tmp_path: Path) -> None:
    text = whatsapp() + f"17/05/2023, 21:40 - {TOM}: Ask Tom on +44 7700 900123 or t@reed.org?\n"
    text += f"17/05/2023, 21:41 - {ADA}: Tom, you and Ada go to the mill with the Reeds at six.\n"
    path = put(tmp_path / "WhatsApp Chat with Tom Reed.txt", text)
    done = memoirist("extract", str(path), "--persona", ADA, "--anonymise")
    assert done.returncode == 0, done.stderr
    told = done.stderr + done.stdout
    assert "names of people masked: 1; contacts masked: e-mail 1, phone 1" in told
    assert "contains a name: rename the file" in told
    tables = ["documents", "blocks", "passages", "questions", "verdicts"]
    everything = "".join(str(rows(memoirist, f"SELECT * FROM {table}")) for table in tables)
    everything += str(rows(memoirist, "SELECT title, author, format FROM sources"))
    for name in ("Tom", "7700", "reed.org"):
        assert name not in everything
    texts = [row["text"] for row in rows(memoirist, "SELECT text FROM passages ORDER BY ord")]
    assert texts[-1] == "Person 1, you and Ada go to the mill with the Person 1s at six."
    assert {row["speaker"] for row in rows(memoirist, "SELECT speaker FROM passages")} == {ADA}
    # The recipe keeps the wish, and another persona is another masking.
    assert "nothing new" in (again := memoirist("extract")).stdout + again.stderr
    done = memoirist("extract", "--no-anonymise")
    assert "Tom" in str(rows(memoirist, "SELECT text FROM passages"))


def test_an_unknown_persona_is_told_with_placeholders(memoirist: Command, tmp_path: Path) -> None:
    path = put(tmp_path / "chat.txt", whatsapp().replace(ADA, "Mum"))
    done = memoirist("extract", str(path), "--persona", ADA, "--anonymise")
    (told,) = [line for line in done.stderr.splitlines() if "no speaker is" in line]
    assert "Person 2 72 %, Person 1 27 %" in told
    done = memoirist("extract", "--speaker", f"Person 2={ADA}")
    assert asked(memoirist) == QUESTIONS


def test_what_follows_anothers_picture_answers_no_earlier_question(
    memoirist: Command, tmp_path: Path
) -> None:
    talk = [
        (TOM, "Who mended your coat?"),
        (ADA, "My mother did, by the lamp in the window."),
        (TOM, "<Media omitted>"),
        (ADA, "What a lovely loom, it is just like the one that my uncle had in his mill!"),
        (TOM, "https://example.org/loom"),
        (ADA, "Mine"),
    ]
    text = "".join(f"17/05/2023, 21:{n:02} - {who}: {what}\n" for n, (who, what) in enumerate(talk))
    done = memoirist("extract", str(put(tmp_path / "chat.txt", text)), "--persona", ADA)
    assert done.returncode == 0, done.stderr
    found = rows(memoirist, "SELECT text FROM passages ORDER BY ord")
    assert [row["text"] for row in found] == [talk[1][1], talk[3][1]]
    assert asked(memoirist) == [talk[0][1]]
    query = "SELECT rule FROM verdicts WHERE step = 'extract' AND NOT keep ORDER BY rule"
    assert [row["rule"] for row in rows(memoirist, query)] == ["link", "media"]
