"""The recipe: every key documented, unknown keys refused with the nearest, flags over file."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel

from memoirist.data.schema.errors import RecipeError
from memoirist.flows.cli.options import overrides
from memoirist.flows.recipe import Recipe, document_keys, dump, load
from memoirist.flows.runtime.context import open_context
from memoirist.flows.steps.train import settings_for


def _tables(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    yield prefix, model
    for key, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _tables(field.annotation, f"{prefix}.{key}".strip("."))


def test_every_key_is_documented() -> None:
    for prefix, model in _tables(Recipe):
        assert model.model_config.get("extra") == "forbid", prefix
        for key, field in model.model_fields.items():
            if prefix:
                assert field.description, f"{prefix}.{key}"


def test_the_printed_keys_are_the_defaults(tmp_path: Path) -> None:
    lines = document_keys().splitlines()
    unset = [line for line in lines if line.endswith(" =  (unset)")]
    values = [line for line in lines if re.match(r"# \w+ = |\[", line) and line not in unset]
    path = _write(tmp_path, "\n".join(line.removeprefix("# ") for line in values))
    assert load(path) == Recipe()
    printed = tomllib.loads(path.read_text("utf-8"))
    defaults = Recipe().model_dump(exclude_none=True)
    assert _keys(printed) == _keys(defaults)
    assert len(unset) == len(_keys(Recipe().model_dump())) - len(_keys(defaults))


def _keys(tables: Mapping[str, object], prefix: str = "") -> set[str]:
    """Return the dotted keys of tables that hold a value."""
    found: set[str] = set()
    for key, value in tables.items():
        inner = isinstance(value, dict) and value
        found |= _keys(value, f"{prefix}{key}.") if inner else {f"{prefix}{key}"}
    return found


def _write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[train]\nlearningrate = 1", "learning_rate"),
        ("[trian]\nrank = 1", "train"),
        ("[persona]\nrank = 1", "train.rank"),
        ("[train]\nrank = 'big'", "rank"),
        ("[passages]\nmin_words = 400", "min_words"),
        ("[train\nrank = 1", "not valid TOML"),
        ("[interview]\nbase_url = 'localhost'", "http://"),
        ("sources = 3", "sources = 3"),
        ("[[sources]]\nlimit = 3", "sources"),
        ("[sources]\nmix = 3", "sources.mix = 3"),
    ],
)
def test_a_wrong_recipe_is_refused_in_one_line(tmp_path: Path, text: str, hint: str) -> None:
    with pytest.raises(RecipeError) as refused:
        load(_write(tmp_path, text))
    assert hint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_missing_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no recipe at"):
        load(tmp_path / "nothing.toml")


def test_flags_win_over_the_file_and_relative_sources_start_at_it(tmp_path: Path) -> None:
    path = _write(tmp_path, "[sources]\ninclude = ['books']\n[train]\nrank = 4\nseed = 7\n")
    recipe = load(path, overrides(["train.rank=8", "persona.name=Ada"], {"train.seed": 9}))
    assert (recipe.train.rank, recipe.train.seed, recipe.persona.name) == (8, 9, "Ada")
    assert recipe.sources.include == [str(tmp_path / "books")]


def test_a_quoted_part_of_a_key_may_hold_dots() -> None:
    told = ['interview.prices."gpt-9.1:mini"={input=0.1, output=0.4}', "persona.name=Ada"]
    recipe = load(None, overrides(told))
    assert recipe.interview.prices["gpt-9.1:mini"].output == 0.4
    assert recipe.persona.name == "Ada"
    with pytest.raises(RecipeError, match="persona"):
        load(None, overrides(["persona=3", "persona.name.first=Ada"]))


def test_what_is_saved_is_what_was_resolved(tmp_path: Path) -> None:
    recipe = load(None, {"persona.name": "微调 O'Hara", "train.rank": 8, "curate.min_score": 0.5})
    assert load(_write(tmp_path, dump(recipe))) == recipe
    assert dump(Recipe()) == ""


@pytest.mark.parametrize("assignment", ["train.rank", "=4"])
def test_a_set_without_key_or_value_is_refused(assignment: str) -> None:
    with pytest.raises(RecipeError, match="KEY=VALUE"):
        overrides([assignment])


def test_the_system_prompt_discloses_an_ai() -> None:
    recipe = load(None, {"persona.name": "Ada Marrow"})
    assert "AI persona" in recipe.persona.system_prompt("en")
    assert "Ada Marrow" in recipe.persona.system_prompt("en")
    assert "AI" in recipe.persona.system_prompt("zh")
    own = load(None, {"persona.name": "Ada", "persona.system": "You are {name}."})
    assert own.persona.system_prompt("en") == "You are Ada."


def test_sources_given_by_set_start_where_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = overrides(['sources.include=["a.txt", "hf://org/name"]'])
    assert found["sources.include"] == [str(tmp_path / "a.txt"), "hf://org/name"]


@pytest.mark.parametrize(
    ("assigned", "flags", "told"),
    [
        (["train.rank=many"], {}, "--set train.rank=many: the recipe's train.rank = 'many' is"),
        (["train.rnak=3"], {}, "--set train.rnak=3: the recipe has no key 'train.rnak'"),
        (["#x=1"], {}, "--set #x=1: the recipe has no key '#x'"),
        (["sources.include=[1]"], {}, "--set sources.include=[1]: the recipe's sources.include.0"),
        ([], {"train.preset": "9gb"}, "--preset: the recipe's train.preset = '9gb' is"),
        ([], {"interview.request_timeout_seconds": -1}, "--request-timeout: the recipe's int"),
    ],
)
def test_a_flags_fault_is_not_laid_to_the_file(
    tmp_path: Path, assigned: list[str], flags: dict[str, object], told: str
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("[train]\nrank = 4\n", "utf-8")
    with pytest.raises(RecipeError) as refused:
        load(path, overrides(assigned, flags).over({"persona.name": "Ada"}))
    assert str(refused.value).startswith(told)
    assert "recipe.toml" not in str(refused.value)
    path.write_text("[train]\nrank = 0\n", "utf-8")
    with pytest.raises(RecipeError, match=r"train\.rank = 0 in '.*recipe.toml' is"):
        load(path, overrides(None, {"train.preset": "8gb"}))


def test_a_dataset_without_a_persona_is_trained_as_it_stands() -> None:
    alone, named = (load(None, settings_for(["a.jsonl"], who)) for who in (None, "Ada Marrow"))
    assert (alone.compose.disclosure_share, alone.persona.system) == (0, "")
    assert named.compose.disclosure_share > 0


def test_a_key_of_an_earlier_version_is_left_out_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("[interview]\nhedged_share = 0.05\nseed = 7\n")
    assert load(path).interview.seed == 7
    assert capsys.readouterr().err.count("interview.hedged_share") == 1


def test_a_recipe_with_comments_is_kept_beside_the_resolved_one(tmp_path: Path) -> None:
    path, copy = tmp_path / "recipe.toml", tmp_path / "recipe.toml.bak"
    written = '# Ada, as in 1890\n[persona]\nname = "Ada" # not Eva\n'
    path.write_text(written, "utf-8")
    context = open_context(tmp_path, values={"passages.min_words": 50})
    context.save_recipe()
    assert copy.read_text("utf-8") == written
    assert "#" not in path.read_text("utf-8")
    copy.unlink()
    context.save_recipe()
    open_context(tmp_path, values={"passages.min_words": 60}).save_recipe()
    assert "min_words = 60" in path.read_text("utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["recipe.toml"]
