"""What the recipe says about the reading of sources."""

from __future__ import annotations

from importlib.metadata import version

from memoirist.extractors import ExtractSettings
from memoirist.flows.runtime.context import Context, fingerprint


def settings_of(context: Context, *, mixed: bool) -> ExtractSettings:
    """Return the recipe's settings of the step, with what datasets hang on filled in.

    Raw texts that are mixed in are nobody's to be asked about.
    """
    sources = context.recipe.sources
    told: dict[str, object] = {
        "columns": sources.map,
        "text_as": "completion" if mixed else sources.text_as,
        "fill": sources.fill,
        "persona": context.recipe.persona.name,
        "ocr_folder": str(context.workspace.root / "ocr"),
    }
    if sources.extract.ocr and not sources.extract.ocr_languages:
        told["ocr_languages"] = [context.recipe.persona.lang or "en"]
    return sources.extract.model_copy(update=told)


def dataset_mark(context: Context, settings: ExtractSettings) -> str:
    """Return a hash of all that the exchanges of a dataset hang on beside its file."""
    return fingerprint(
        sorted(settings.columns.items()),
        settings.text_as,
        sorted(settings.fill.items()),
        settings.persona,
        context.recipe.passages.mask_personal,
        version("duckdb"),  # by whose hashes duplicates are found
    )
