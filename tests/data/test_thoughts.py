"""What a model thinks is told from what it says, in every format; words about marks stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from memoirist.data.text.thoughts import without_thoughts
from tests.support.stores import empty_store

SAID = "My uncle took me there when I was fourteen."
HARMONY = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>"
MARKED = [
    f"<think>\nHmm, secret plan.\n</think>\n\n{SAID}",
    f"<THINK>Hm.</THINK>{SAID}",
    f"<think>\n\n</think>\n\n{SAID}",
    f"The prompt has opened it.\n</think>\n{SAID}",
    f"<think>I mention <think> tags</think> and go on </think>{SAID}",
    f"<thinking>a <reflection>b</reflection> c</thinking>\n<output>\n{SAID}\n</output>",
    f"<reasoning>Hm.</reasoning><answer>{SAID}</answer>",
    f"<seed:think>Hm.</seed:think>{SAID}",
    f"[THINK]Hm.[/THINK]{SAID}",
    f"◁think▷Hm.◁/think▷{SAID}",
    f"<|begin_of_thought|>\nHm.\n<|end_of_thought|>\n<|begin_of_solution|>\n{SAID}\n"
    "<|end_of_solution|>",
    f"<|START_THINKING|>Hm.<|END_THINKING|><|START_RESPONSE|>{SAID}<|END_RESPONSE|>",
    f"{HARMONY}{SAID}<|return|>",
    f"<|start|>assistant{HARMONY}{SAID}",
    f"analysisWe need to answer.\n\nShort.assistantfinal{SAID}",
    '<details type="reasoning" done="true" duration="5">\n<summary>Thought for 5 s</summary>\n'
    f"&gt; Hm.\n</details>\n{SAID}",
    f"<think >Hm.</think >{SAID}",
    f'<think time="3">Hm.</think>{SAID}',
    f"&lt;think&gt;Hm.&lt;/think&gt;{SAID}",
    *(
        f"<{tag}>Hm.</{tag}>\n{SAID}"
        for tag in ("reasoning_content", "analysis", "inner_monologue", "antThinking")
    ),
    f"<thinking_process>Hm.</thinking_process>{SAID}",
    f"<unused94>thought\nHm.<unused95>{SAID}",
    f"<|channel>thought\nHm.<channel|>{SAID}",
    f"<|start_think|>Hm.<|end_think|>{SAID}",
]


@pytest.mark.parametrize("text", MARKED)
def test_thoughts_are_taken_off(text: str, tmp_path: Path) -> None:
    assert without_thoughts(text) == (SAID, 1)
    # The quick way through SQL sees them all, or it would not look at the row.
    store = empty_store(tmp_path / "memoirist.duckdb")
    assert store.value("SELECT has_thought(?)", text) is True


@pytest.mark.parametrize(
    ("text", "said", "count"),
    [
        (f"{SAID}\n<think>Should I say more?", SAID, 1),
        ("<think>never closed", "", 1),
        ("<think>only this</think>\n", "", 1),
        ("One. <think>a</think> Two. <think>b</think> Three.", "One.\n\nTwo.\n\nThree.", 2),
        ("", "", 0),
    ],
)
def test_several_and_open_thoughts(text: str, said: str, count: int) -> None:
    assert without_thoughts(text) == (said, count)


@pytest.mark.parametrize(
    "text",
    [
        SAID,
        "  I think so. [think] <b>bold</b>\n",
        "A model writes `<think>` first and then `</think>`.",
        "What stands before the </think> tag is not shown.",
        "<details><summary>More</summary>Even more.</details>",
        "<thinking of it> I smiled; 3 &lt; 5 and 7 &gt; 2.",
        "The analysis was short, the assistantfinal was not.",
    ],
)
def test_words_about_thoughts_stay(text: str) -> None:
    assert without_thoughts(text) == (text, 0)
