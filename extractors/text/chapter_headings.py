"""Tell headings by their words, in several languages, and what the section below them is."""

from __future__ import annotations

import re

from memoirist.data.schema.records import BlockKind
from memoirist.extractors.text.text_unit import bare, spread

_WORDED = (
    r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen"
    r"|sixteen|seventeen|eighteen|nineteen|twenty(?:[- ]\w+)?|thirty(?:[- ]\w+)?"
    r"|(?:the )?(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|last)"
    r"|premier|première|premi[eè]re|deuxième|second[e]?|troisième|quatrième"
    r"|primer[oa]?|segund[oa]|tercer[oa]?|cuart[oa]|erste[sr]?|zweite[sr]?|dritte[sr]?"
    r"|vierte[sr]?)"
)
_COUNT = rf"(?:[ivxlcdm]+|\d+|{_WORDED})"
_PART = r"part|book|volume|vol\.|partie|livre|tome|teil|band|buch|parte|libro|tomo|parte|livro"
_CHAPTER = (
    r"chapter|chap\.|letter|section|canto|act|lecture|chapitre|lettre|kapitel|brief|cap[ií]tulo"
    r"|carta"
)
_SHORT = r"(?:[\s.:,;—–-].{0,90})?"
_PART_TITLE = re.compile(rf"^(?:(?:{_PART})\s+{_COUNT}\b|{_WORDED}\s+(?:{_PART})\b){_SHORT}$", re.I)
_CHAPTER_TITLE = re.compile(
    rf"^(?:(?:{_CHAPTER})\s+{_COUNT}\b|(?:{_WORDED})\s+(?:{_CHAPTER})\b|(?:{_COUNT})\.\s+(?:kapitel|teil)\b)"
    r"(?:[\s.:,;—–-].{0,400})?$",
    re.IGNORECASE | re.DOTALL,
)
_HAN_COUNT = r"[一二三四五六七八九十百千零〇○\d０-９]+"
_HAN_PART = re.compile(rf"^第{_HAN_COUNT}[部卷編编篇冊册](?:[\s　:：、.].{{0,40}})?$")
_HAN_CHAPTER = re.compile(rf"^第{_HAN_COUNT}[回章節节折齣出講讲話话](?:\s?.{{0,40}})?$")
_BARE = re.compile(r"^(?:[IVXLC]{1,7}|\d{1,3}|[一二三四五六七八九十]{1,3})\s*[.:、]?$")
_ROMAN_TITLE = re.compile(r"^[IVXLC]{1,7}\.\s+\S.{0,80}$")
_NAMED = re.compile(
    r"^(?:(?:the )?(?:author|editor|publisher|translator|printer).?s? )?(?:to the )?"
    r"(?:general )?(?:preface|foreword|introduction|introductory(?: note| chapter)?|prologue"
    r"|epilogue"
    r"|conclusion|appendi(?:x|ces)|postscript|acknowledge?ments?|afterword|dedication|note"
    r"|avant-propos|pr[eé]face|prologue|[eé]pilogue|appendice|postface|remerciements|conclusion"
    r"|vorwort|vorrede|geleitwort|einleitung|einf[uü]hrung|nachwort|anhang|schluss|schlu[sß]"
    r"|danksagung"
    r"|pr[oó]logo|prefacio|introducci[oó]n|ep[ií]logo|ap[eé]ndice|conclusi[oó]n|agradecimientos"
    r"|introdu[cç][aã]o)\b[^.!?]{0,50}[.:]?$",
    re.IGNORECASE,
)
_HAN_NAMED = re.compile(
    r"^(?:《[^》]{1,20}》)?(?:自序|代序|序言|序|前言|引言|楔子|後記|后记|附錄|附录|跋|尾聲|尾声)$"
)

_CONTENTS = re.compile(
    r"^(?:table of contents|(?:brief |short |detailed )?contents(?: of .{1,40})?"
    r"|list of (?:the )?\w+"
    r"|(?:full[- ]page )?(?:illustrations|plates|maps|figures|tables|portraits)"
    r"|table des mati[eè]res|table des illustrations|sommaire|inhalt|inhaltsverzeichnis"
    r"|abbildungsverzeichnis|[ií]ndice(?: general| de .{1,30})?|tabla de contenidos?|contenido"
    r"|sum[aá]rio"
    r"|目\s*[錄录次]|navigation|landmarks|page list)\W*$",
    re.IGNORECASE,
)
_BACK = re.compile(
    r"^(?:(?:general |analytical )?index|bibliography|bibliography and index"
    r"|select(?:ed)? bibliography"
    r"|works cited|references|further reading|glossary of terms|register|sachregister"
    r"|personenregister"
    r"|literaturverzeichnis|literatur|bibliographie|bibliograf[ií]a|advertisements?"
    r"|(?:other )?(?:books|works) by .{1,60}|also by .{1,60}|索引|參考書目|参考文献)\W*$",
    re.IGNORECASE,
)
_BOILERPLATE = re.compile(
    r"^(?:cover|title ?page|half ?title(?: ?page)?|imprint|colophon|copyright(?: page| notice"
    r"| information)?"
    r"|uncopyright|(?:the )?(?:full )?project gutenberg(?:-?tm|™)? licen[sc]e.*|licen[sc]e"
    r"|legal notice"
    r"|(?:original )?transcriber.?s.? notes?|production notes?(?: section)?"
    r"|transcription notes?|typographical errors|about (?:this|the) (?:e-?book|edition)"
    r"|impressum|mentions l[eé]gales|cr[eé]dits|cr[eé]ditos|couverture|umschlag|cubierta"
    r"|portada|titelseite"
    r"|版權(?:頁|所有)?|版权(?:页|所有)?|封面)\W*$",
    re.IGNORECASE,
)
_NOTES = re.compile(
    r"^(?:foot ?notes?|end ?notes?|notes|notes (?:to|on) .{1,40}|notes de bas de page|fu(?:ss"
    r"|ß)noten|anmerkungen"
    r"|notas(?: al pie)?|[注註]\s*[釋释解腳脚]?|附註|附注)\W*$",
    re.IGNORECASE,
)
_MAX_CHARS = 160


def level_by_words(text: str) -> int:
    """Return 1 for a part's heading, 2 for a chapter's, 3 for a bare number, 0 for other words."""
    line = " ".join(text.split())
    if len(line) > _MAX_CHARS * 3 or line.endswith((",", ";")):
        return 0
    if _CHAPTER_TITLE.match(line) or _HAN_CHAPTER.match(line):
        return 2
    if len(line) > _MAX_CHARS:
        return 0
    if _PART_TITLE.match(line) or _HAN_PART.match(line):
        return 1
    if _NAMED.match(line) or _HAN_NAMED.match(line) or kind_of_section(line):
        return 2
    return 3 if _BARE.match(line) or _ROMAN_TITLE.match(line) else 0


def is_named(text: str) -> bool:
    """Tell whether the heading is a section's by name: a preface, an introduction, an appendix."""
    line = " ".join(text.split())
    return len(line) < _MAX_CHARS and bool(_NAMED.match(line) or _HAN_NAMED.match(line))


def is_bare_number(text: str) -> bool:
    """Tell whether the heading is a number alone ("IV.", "Chapter 4"): a title may follow."""
    line = " ".join(text.split()).rstrip(" .:—–-")
    return bool(_BARE.match(line)) or (
        level_by_words(line) in {1, 2}
        and bool(
            re.fullmatch(rf"(?:\w+\.?)\s+{_COUNT}|{_WORDED}\s+\w+|第{_HAN_COUNT}\w", line, re.I)
        )
    )


def kind_of_section(title: str) -> BlockKind | None:
    """Return what the section below a heading is where it is not prose, else None."""
    line = " ".join(title.split()).strip(" .:□■◆●◎○*＊[]【】〔〕_-")
    if _CONTENTS.match(line):
        return "contents"
    if _NOTES.match(line):
        return "footnote"
    return "boilerplate" if _BACK.match(line) or _BOILERPLATE.match(line) else None


def is_back_matter(title: str) -> bool:
    """Tell whether the heading opens an index, a bibliography or the like."""
    return bool(_BACK.match(" ".join(title.split()).strip(" .:")))


def same_title(one: str, other: str) -> bool:
    """Tell whether two titles are the same but for numbers, case and punctuation."""
    a, b = bare(one), bare(other)
    return bool(a) and bool(b) and (a == b or (min(len(a), len(b)) > 5 and (a in b or b in a)))


_SMALL = spread(
    "a an and at but by for from in of on or the to with de du des la le les et en y el los las und"
    " der die das von zu"
)
_ROMAN = re.compile(
    r"^(?=[IVXLCDM])M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})\W*$"
)


def cased(title: str) -> str:
    """Return a title that is all in capitals in title case, another one as it is."""
    letters = [letter for letter in title if letter.isalpha()]
    if not letters or sum(letter.isupper() for letter in letters) < 0.9 * len(letters):
        return title
    words = title.split(" ")
    return " ".join(
        _cased(word, n == 0 or words[n - 1].endswith((".", ":", "—", "--")))
        for n, word in enumerate(words)
    )


def _cased(word: str, opens: bool) -> str:
    if _ROMAN.match(word) and word != "I":
        return word
    if (word.lower() in _SMALL and not opens) or word[:1].isdigit():
        return word.lower()
    return re.sub(r"[^\W\d_]+(?:['’][^\W\d_]+)?", lambda match: match[0].capitalize(), word)
