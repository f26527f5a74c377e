"""Read mail, as mailboxes (mbox) or single files (.eml), by threads."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.errors import HeaderParseError, MessageError
from email.header import decode_header, make_header
from email.message import Message as Mail
from email.parser import BytesParser
from email.policy import compat32
from email.utils import getaddresses, parsedate_to_datetime
from pathlib import Path

from memoirist.extractors.chat.base import BadMessage, Chat, Cut, Message, Rule, label, plain
from memoirist.extractors.chat.chat_files import ChatFile, heads, is_zip
from memoirist.extractors.chat.mail_text import own_words, text_of_page
from memoirist.extractors.text.encoding import decode
from memoirist.extractors.word_tables import any_of

_FROM_LINE = re.compile(
    rb"(?:\A|(?<=\n))From \S[^\n]{0,300}\d{4}[^\n]{0,20}\n(?=[A-Za-z][\w-]*:[ \t\r\n])"
)
_ESCAPED_FROM = re.compile(rb"^>(>*From )", re.MULTILINE)
_REPLY = re.compile(rf"^\s*(?:{any_of('mail', 'reply')})(?:\[\d+\])?\s?[:：]\s*", re.IGNORECASE)
_FORWARD = re.compile(rf"^\s*(?:{any_of('mail', 'forward')})\s?[:：]\s*", re.IGNORECASE)
_MACHINES = re.compile(any_of("mail", "machines"), re.IGNORECASE)
_ID = re.compile(r"<[^<>\s]{1,300}>")
_MAX_PARTS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class _Letter:
    """One mail: its words, and what tells its thread."""

    message: Message
    address: str
    subject: str
    answers: bool
    own_id: str
    references: tuple[str, ...]
    people: tuple[str, ...]


def is_mail(path: Path) -> bool:
    """Tell whether a file may be mail; of an archive, whether mail lies in it."""
    return not is_zip(path) or any(True for _ in heads(path, (".eml", ".mbox")))


def read_mail(file: ChatFile) -> list[Chat]:
    """Return the threads of a mailbox, or of a single mail."""
    letters: list[_Letter] = []
    bad: list[BadMessage] = []
    seen: set[str] = set()
    for number, content in enumerate(_mails(file.content), start=1):
        letter = _letter(content)
        if letter is None:
            bad.append(BadMessage(f"mail {number}", "it has no sender"))
        elif letter.own_id and letter.own_id in seen:
            bad.append(BadMessage(f"mail {number}", "it is a copy of an earlier mail"))
        else:
            seen.add(letter.own_id)
            letters.append(letter)
    threads = _threads(_one_name_each(letters))
    return [_chat(thread, bad if n == 0 else ()) for n, thread in enumerate(threads)]


def _one_name_each(letters: Sequence[_Letter]) -> list[_Letter]:
    """Return the mails with the longest name of each address that has the words of the shorter."""
    names: dict[str, set[str]] = defaultdict(set)
    for letter in letters:
        names[letter.address].add(letter.message.sender or "")

    def full(letter: _Letter) -> str:
        own, local = letter.message.sender or "", letter.address.partition("@")[0]
        others = {name for name in names[letter.address] if name.casefold() != local}
        # Of a mailing list, which sends for several people, nobody's name holds the others'.
        longest = max(sorted(others), key=len, default=own)
        whole = own.casefold() == local and all(_words(name) <= _words(longest) for name in others)
        return longest if letter.address and (whole or _words(own) <= _words(longest)) else own

    return [replace(one, message=replace(one.message, sender=full(one))) for one in letters]


def _words(name: str) -> set[str]:
    return set(re.findall(r"\w+", name.casefold()))


def _mails(content: bytes) -> Iterator[bytes]:
    """Yield the mails of a mailbox: each begins with a line "From " and its headers."""
    starts = list(_FROM_LINE.finditer(content))
    if not starts or starts[0].start() > 0:
        yield content
        return
    ends = [start.start() for start in starts[1:]] + [len(content)]
    for start, end in zip(starts, ends, strict=True):
        yield _ESCAPED_FROM.sub(rb"\1", content[start.end() : end])


def _letter(content: bytes) -> _Letter | None:
    mail = BytesParser(policy=compat32).parsebytes(content)
    senders = _people(mail, "From") or _people(mail, "Sender")
    if not senders:
        return None
    name, address = senders[0]
    subject = _header(mail, "Subject")
    words, n_quoted, n_signature, is_forward = own_words(_body(mail))
    rule = _rule(mail, address, words, is_forward=is_forward, quoted=n_quoted > 0)
    own_id = next(iter(_ID.findall(str(mail.get("Message-ID", "")))), "")
    references = _ID.findall(f"{mail.get('References', '')} {mail.get('In-Reply-To', '')}")
    found = [*senders[1:], *_people(mail, "To"), *_people(mail, "Cc")]
    cuts: dict[Cut, int] = {"quoted_reply": n_quoted, "signature": n_signature}
    return _Letter(
        message=Message(
            text=words or f"[{mail.get_content_type()}]",
            sender=name or address.partition("@")[0],
            time=_time(mail),
            rule=rule,
            cuts={cut: n for cut, n in cuts.items() if n} if rule is None else None,
        ),
        address=address.casefold(),
        subject=_FORWARD.sub("", _REPLY.sub("", subject)).strip() or subject,
        answers=_REPLY.match(subject) is not None,
        own_id=own_id,
        references=tuple(references),
        people=tuple(name for name, _ in found if name),
    )


def _rule(mail: Mail, address: str, words: str, *, is_forward: bool, quoted: bool) -> Rule | None:
    automatic = str(mail.get("Auto-Submitted", "no")).partition(";")[0].strip().lower() != "no"
    is_report = mail.get_content_type() in {"multipart/report", "text/calendar"}
    if automatic or is_report or _MACHINES.fullmatch(address.partition("@")[0]):
        return "bot"
    if words:
        return None
    return "forward" if is_forward else "quoted_only" if quoted else "media"


def _header(mail: Mail, name: str) -> str:
    """Return a header in one line, decoded where it can be."""
    value = mail.get(name)
    if value is None:
        return ""
    try:
        text = str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, UnicodeError, ValueError):
        text = str(value)
    return " ".join(plain(text.encode("utf-8", "replace").decode("utf-8")).split())


def _people(mail: Mail, name: str) -> list[tuple[str, str]]:
    """Return (name, address) of each person in a header; the name may be empty."""
    found: list[tuple[str, str]] = []
    for shown, address in getaddresses([str(value) for value in mail.get_all(name, [])]):
        try:
            text = str(make_header(decode_header(shown)))
        except (HeaderParseError, LookupError, UnicodeError, ValueError):
            text = shown
        text = label(text.encode("utf-8", "replace").decode("utf-8").strip("'\" ")) or ""
        if address or text:
            found.append(("" if text == address else text, address))
    return found


def _time(mail: Mail) -> datetime | None:
    try:
        time = parsedate_to_datetime(str(mail.get("Date", "")))
        time = time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    return time if 1980 <= time.year < 2100 else None


def _body(mail: Mail) -> str:
    """Return the plain text of a mail, else what its HTML says; quotations begin with ">"."""
    plains: list[str] = []
    pages: list[str] = []
    for n, part in enumerate(mail.walk()):
        kind = part.get_content_type()
        if n > _MAX_PARTS or kind == "message/rfc822":
            break
        if part.is_multipart() or part.get_content_disposition() == "attachment":
            continue
        if kind == "text/plain":
            flowed = str(part.get_param("format", "")).lower() == "flowed"
            plains.append(_unfolded(_text(part), flowed=flowed))
        elif kind == "text/html":
            pages.append(_text(part))
    if any(text.strip() for text in plains):
        return "\n".join(plains)
    return "\n\n".join(map(text_of_page, pages))


def _text(part: Mail) -> str:
    try:
        content = part.get_payload(decode=True)
    except (MessageError, ValueError, LookupError):
        content = None
    if not isinstance(content, bytes):
        return ""
    charset = part.get_content_charset()
    try:
        return content.decode(charset or "utf-8")
    except (LookupError, UnicodeError, ValueError):
        return decode(content).text


def _unfolded(text: str, *, flowed: bool) -> str:
    """Join the lines of a paragraph that goes on (RFC 3676): they end with a space."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not flowed:
        return text
    return re.sub(r"^([^>\n]+)(?<!^--) \n(?=[^\s>])", r"\1 ", text, flags=re.MULTILINE)


def _threads(letters: Sequence[_Letter]) -> list[list[_Letter]]:
    """Return the mails by threads: what answers what, else answers with an earlier subject."""
    thread_of: dict[str, int] = {}
    by_subject: dict[str, int] = {}
    joined: dict[int, int] = {}
    members: list[tuple[int, _Letter]] = []

    def root(number: int) -> int:
        while number in joined:
            number = joined[number]
        return number

    for n, letter in enumerate(letters):
        ids = [i for i in (letter.own_id, *letter.references) if i]
        known = sorted({root(thread_of[i]) for i in ids if i in thread_of})
        subject = letter.subject.casefold()
        if not known and letter.answers and subject in by_subject:
            known = [root(by_subject[subject])]
        number = known[0] if known else n
        joined |= dict.fromkeys(known[1:], number)
        thread_of |= dict.fromkeys(ids, number)
        by_subject[subject] = number
        members.append((number, letter))
    threads: dict[int, list[_Letter]] = {}
    for number, letter in members:
        threads.setdefault(root(number), []).append(letter)
    return list(threads.values())


def _chat(thread: Sequence[_Letter], bad: Sequence[BadMessage]) -> Chat:
    first = min(thread, key=lambda letter: letter.message.time or datetime.max.replace(tzinfo=UTC))
    return Chat(
        name=first.subject or "(no subject)",
        messages=[letter.message for letter in thread],
        key=first.own_id or first.subject,
        bad=bad,
        whole=True,
        people=tuple(dict.fromkeys(name for letter in thread for name in letter.people)),
    )
