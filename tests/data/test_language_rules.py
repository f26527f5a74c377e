"""Languages: sentence ends, quotes, word counts, detection and gates beyond English."""

from __future__ import annotations

import pytest

from memoirist.data.passages.quality_filters import GateSettings, of_language
from memoirist.data.passages.quotation import quote_style, quoted_share
from memoirist.data.passages.segmentation import split_prose
from memoirist.data.passages.settings import PassageSettings
from memoirist.data.text import language_detection, words
from memoirist.data.text.language_rules import CODES, gate_values
from tests.support.curation import gated
from tests.support.rows import NOW, block, document, passage

GERMAN = (
    "Als ich sieben Jahre alt war, zog mein Vater mit uns in das Haus am Fluss, und ich bekam"
    " eine Kammer unter dem Dach. Im Winter lag der Schnee auf der Bettdecke, z. B. im Januar,"
    " wenn der Wind von Norden kam. Am 3. Mai des folgenden Jahres brach das Eis, und wir sahen"
    " den Schollen zu, die gegen die Brücke stießen. Meine Mutter sagte, dass man an einem"
    " solchen Tag nichts versprechen dürfe. Ich habe es ihr damals nicht geglaubt, und doch habe"
    " ich mich daran gehalten, solange ich lebte wie ein Müller und nicht wie ein Herr. Die"
    " Mühle war alt und laut."
)
FRENCH = (
    "Quand j'avais sept ans, mon père loua la maison du passeur, et l'on me donna une chambre"
    " sous les toits. L'hiver, la neige entrait par la lucarne et se posait sur le lit sans"
    " fondre. M. Aubert, le maître d'école, venait le dimanche boire du cidre et parler de la"
    " guerre avec Mme. Perrin, qui n'en savait rien. Ma mère disait qu'il ne faut jamais"
    " promettre quand la glace se rompt ; je ne l'ai pas crue, et pourtant je m'y suis toujours"
    " tenu. Le moulin était vieux et faisait un bruit qui nous empêchait de dormir, mais dont le"
    " silence nous réveillait aussitôt."
)
SPANISH = (
    "Cuando yo tenía siete años, mi padre alquiló la casa del barquero y me dieron un cuarto"
    " bajo el tejado. En invierno la nieve entraba por la ventana y se quedaba sobre la cama sin"
    " deshacerse. El Sr. Aldana, el maestro, venía los domingos a beber sidra y a hablar de la"
    " guerra con la Sra. Prieto, que no sabía nada de ella. Mi madre decía que no se debe"
    " prometer nada cuando se rompe el hielo; yo no la creí, y sin embargo lo he cumplido"
    " siempre. El molino era viejo y hacía un ruido que no nos dejaba dormir, pero el silencio"
    " nos despertaba en seguida."
)
TRADITIONAL = (
    "我七歲那年，父親帶著我們搬到河邊的屋子裏，我住在閣樓上。冬天的雪從窗縫裏飄進來，落在被子上，一"
    "夜也不化。隔壁的老師每到星期日便來喝茶，和母親說些打仗的事，其實他什麼也不知道。母親說：“河冰開"
    "裂的日子，不可以許下什麼願。”我那時不相信，後來卻一直照著做了。水車又老又吵，我們總是睡不好，可"
    "是它一停，大家倒都醒過來了。"
)
SIMPLIFIED = (
    "我七岁那年，父亲带着我们搬到河边的屋子里，我住在阁楼上。冬天的雪从窗缝里飘进来，落在被子上，一夜"
    "也不化。隔壁的老师每到星期日便来喝茶，和母亲说些打仗的事，其实他什么也不知道。"
)
JAPANESE = (
    "七歳の年に、父は私たちを連れて川のそばの家へ引っ越した。私は屋根裏の部屋に住んだ。冬になると雪が"
    "窓のすきまから入ってきて、布団の上に積もった。"
)


@pytest.mark.parametrize(
    ("sample", "count"),
    [
        (GERMAN, 6),
        (FRENCH, 5),
        (SPANISH, 5),
        ("Kaiser Wilhelm II. hatte das gesagt, d. h. fast. Er ging.", 2),
        ("Es war 1945. Danach war Ruhe.", 2),
        ("Er kam am 1. Mai. Es regnete.", 2),
        ("»Komm!« Er ging. „Ja.“ Und fort.", 4),
        ("« Venez. » Il partit. — Oui, dit-il.", 3),
        ("¿Vienes? Sí. ¡Ya!", 3),
        ("El Dr. Prado y los Sres. Gil vinieron a las 3 p. m. y se fueron.", 1),
        ("Gen. U. S. Grant met Col. Porter. They rode on, i.e. north.", 2),
        ("He sold pens, ink, etc. Then he left. See No. 4 for more.", 3),
        ("1. I learned to be mild. 2. I kept it.", 2),
        ("他走了。「好！」她說。真的嗎？……是的。", 5),
    ],
)
def test_sentences_end_where_they_do(sample: str, count: int) -> None:
    found = words.sentences(sample)
    assert len(found) == count, found
    assert "".join("".join(found).split()) == "".join(sample.split())


@pytest.mark.parametrize(
    "sample",
    [
        "Er ging.“",
        "Er ging.«",
        "Il partit. »",
        "Il partit.\u00a0»",
        "走了。」",
        "走了！』",
        "走了。）",
    ],
)
def test_closing_quotes_of_every_language_end_a_sentence(sample: str) -> None:
    assert words.ends_sentence(sample)


@pytest.mark.parametrize(
    ("sample", "lang"),
    [
        (GERMAN, "de"),
        (FRENCH, "fr"),
        (SPANISH, "es"),
        (TRADITIONAL, "zh"),
        (SIMPLIFIED, "zh"),
        (JAPANESE, "ja"),
        ("我的書の題名，ヾ是一個記號，後面還有許多中文字在這裏。", "zh"),
        ("Was hast du denn dort gemacht?", "de"),
        ("Qu'est-ce que vous avez fait là-bas ?", "fr"),
        ("¿Qué hiciste allí?", "es"),
        ("What did you do there, and why?", "en"),
        ("안녕하세요. 저는 강가에 있는 집에서 살았습니다.", "ko"),
        ("12 34 56", "und"),
    ],
)
def test_languages_are_told_short_and_long(sample: str, lang: str) -> None:
    assert language_detection.detect_language(sample) == lang


@pytest.mark.parametrize(
    ("lang", "sample"), [("de", GERMAN), ("fr", FRENCH), ("es", SPANISH), ("zh", TRADITIONAL)]
)
def test_prose_of_a_language_passes_its_gates_and_others_do_not(lang: str, sample: str) -> None:
    kept = gated([passage(0, sample)], "book", lang)
    assert [v.rule for v in kept if not v.keep] == []
    other = "en" if lang != "en" else "de"
    (drop,) = [v for v in gated([passage(0, sample)], "book", other) if not v.keep]
    assert drop.rule == "language"
    assert lang in drop.reason
    assert "--lang" in str(drop.next_step)


def test_an_index_and_a_list_fail_the_chinese_gates() -> None:
    index = "、".join(f"張{n}李王趙{n * 3}" for n in range(100, 160))
    rules = {v.rule for v in gated([passage(0, index)], "book", "zh")}
    assert rules & {"digits", "few_letters", "few_stop_words"}
    again = "水車轉動水車轉動" * 30
    assert any(not v.keep for v in gated([passage(1, again)], "book", "zh"))


def test_what_the_recipe_says_wins_over_a_languages_own_limit() -> None:
    assert of_language(GateSettings(), "zh").min_stop_share < GateSettings().min_stop_share
    said = GateSettings.model_validate({"min_stop_share": 0.3})
    assert of_language(said, "zh").min_stop_share == 0.3
    assert of_language(GateSettings(), "en") == GateSettings()


def test_a_language_names_only_limits_of_its_own() -> None:
    defaults = GateSettings().model_dump().items()
    assert not [code for code in CODES if defaults & gate_values(code).items()]


@pytest.mark.parametrize(
    ("lang", "sample", "style", "low", "high"),
    [
        ("de", "»Komm her!«, sagte er. Ich ging. »Setz dich.«", "reversed", 0.5, 0.65),
        ("de", "„Komm her!“, sagte er. Ich ging hinein.", "low", 0.25, 0.4),
        ("fr", "« Venez ici ! » dit-il. J'entrai sans répondre.", "guillemets", 0.3, 0.4),
        ("zh", "他說：「過來。」我便進去了。", "corner", 0.3, 0.5),
        ("en", "‘Come here,’ he said. I didn’t go; it wasn’t his house.", "single", 0.2, 0.3),
    ],
)
def test_each_language_quotes_in_its_own_way(
    lang: str, sample: str, style: str, low: float, high: float
) -> None:
    assert quote_style([sample], lang) == style
    assert low <= quoted_share(sample, lang) <= high


def test_dialogue_behind_dashes_is_speech() -> None:
    spanish = "—Sí, señor —respondió él, mirando al suelo con mucho cuidado—. Vamos."
    assert 0.15 < quoted_share(spanish, "es") < 0.4
    assert quoted_share("— Oui, monsieur, dit-il.", "fr") == 1
    assert quoted_share("— Yes, sir, he said.", "en") == 0
    assert quoted_share("Él esperó —como siempre— en la puerta.", "es") == 0


def test_the_books_style_decides_and_not_one_passage() -> None:
    book = ["“Come,” he said, and “go,” and “stay where you are.”", "It was in the ‘Times’ of May."]
    style = quote_style(book)
    assert style == "curly"
    assert quoted_share(book[1], "en", style) == 0
    assert quoted_share(book[1], "en") > 0


def test_chinese_passages_are_joined_without_spaces() -> None:
    rows = split_prose(document(), [block(0, SIMPLIFIED * 20)], PassageSettings(), NOW)
    assert len(rows.passages) > 1
    assert "".join(p.text for p in rows.passages) == SIMPLIFIED * 20
    assert all(" " not in p.text and words.ends_sentence(p.text) for p in rows.passages)
    assert words.count_words("我住在閣樓上") == 6
