"""Settings of the extract step, each with its unit in its name."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ExtractSettings(BaseModel):
    """Say how sources are read and how book pages are cleaned."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    workers: int = Field(2, ge=1)
    """Processes that read the pages of one PDF."""
    engine: Literal["auto", "pdfium", "pdfminer"] = "auto"
    """Library that reads PDFs; auto: pdfium, and pdfminer for what pdfium cannot read."""
    pages_per_chunk: int = Field(16, ge=1)
    """Pages of one PDF that one process gets at once."""
    opening_seconds: float = Field(10.0, gt=0)
    """Longest time in seconds to open a PDF."""
    page_seconds: float = Field(5.0, gt=0)
    """Longest time in seconds to read one page of a PDF."""
    page_memory_mb: int = Field(400, ge=64)
    """Most memory in MB of each process that reads PDF pages."""
    max_unmapped_share: float = Field(0.02, ge=0, le=1)
    """Share of unmapped characters beyond which a page is left out."""
    ocr: bool = False
    """Make a text layer for scanned pages (needs the extra ocr, tesseract)."""
    ocr_languages: list[str] = Field(default_factory=list)
    """Languages of scanned pages, such as en or de; default: the persona's."""
    ocr_min_confidence: float = Field(0.5, ge=0, le=1)
    """Least mean confidence at which the words of a scanned page are kept."""
    ocr_folder: str = Field("", exclude=True)
    """Set by the program: the workspace's folder for text layers."""
    furniture_reach_pages: int = Field(4, ge=1)
    """Neighbour pages, each way, that a running head is compared with."""
    furniture_outer_lines: int = Field(3, ge=1)
    """Lines at the head and at the foot of a page that may be furniture."""
    furniture_shift_points: float = Field(4.0, gt=0)
    """Largest vertical shift between a running head and its neighbour."""
    furniture_similarity: float = Field(0.8, gt=0, le=1)
    """Least share of equal text, digits masked, of two heads."""
    footnote_size_ratio: float = Field(0.9, gt=0, lt=1)
    """Largest font size of a footnote, as a share of the body's."""
    heading_size_ratio: float = Field(1.15, gt=1)
    """Least font size of a heading, as a multiple of the body's."""
    indent_points: float = Field(6.0, gt=0)
    """Least indent from the margin that starts a paragraph."""
    gap_ratio: float = Field(1.3, gt=1)
    """Least line distance, in leadings, that starts a paragraph."""
    turn_pause_seconds: float = Field(2.0, gt=0)
    """Pause in seconds that ends a turn where the transcript names no speaker."""
    turn_max_words: int = Field(200, ge=1)
    """Words after which a nameless turn ends at the next sentence."""
    chat_gap_hours: float = Field(8.0, gt=0)
    """Hours without a message after which a new conversation begins in a chat."""
    chat_join_minutes: float = Field(5.0, ge=0)
    """Longest pause in minutes between messages of one sender that are joined into one turn."""
    anonymise: bool = False
    """Replace other people's names and contacts in chats and mail by placeholders."""
    # What datasets depend on is set under [sources] and [persona]; the flow copies it here.
    columns: dict[str, str] = Field(default_factory=dict, exclude=True)
    """Set by the program from sources.map."""
    text_as: Literal["interview", "completion"] = Field("interview", exclude=True)
    """Set by the program from sources.text_as."""
    keep_tools: bool = Field(False, exclude=True)
    """Set by the program from the dataset's table in sources.mix."""
    fill: dict[str, str] = Field(default_factory=dict, exclude=True)
    """Set by the program from sources.fill."""
    persona: str = Field("", exclude=True)
    """Set by the program from persona.name."""
    own_names: list[str] = Field(default_factory=list, exclude=True)
    """Set by the program: the persona's names, and the labels that are mapped to the persona."""
