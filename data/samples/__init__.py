"""The bundled samples: a memoir, an interview and exchanges of one invented person."""

from pathlib import Path

_FOLDER = Path(__file__).parent

PERSONA = "Edith Thackwray"
SOURCES = tuple(_FOLDER / name for name in ("memoir.pdf", "interview.vtt", "exchanges.jsonl"))
