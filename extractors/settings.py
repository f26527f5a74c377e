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
    """Library that reads PDFs; auto is pdfium, with pdfminer for what it cannot."""
    pages_per_chunk: int = Field(16, ge=1)
    """Pages of one PDF that one process is given at once."""
    opening_seconds: float = Field(10.0, gt=0)
    """Longest time for a PDF to open; then it is given up."""
    page_seconds: float = Field(5.0, gt=0)
    """Longest time for one page of a PDF; then it is given up."""
    page_memory_mb: int = Field(400, ge=64)
    """Memory that each process reading PDF pages may take."""
    max_unmapped_share: float = Field(0.02, ge=0, le=1)
    """Share of unmapped characters beyond which a page is left out."""
    ocr: bool = False
    """Make a text layer for scanned pages (needs the extra ocr, tesseract)."""
    ocr_languages: list[str] = Field(default_factory=list)
    """Languages of scanned pages, such as en or de; default: the persona's."""
    ocr_min_confidence: float = Field(0.5, ge=0, le=1)
    """Mean confidence of a scanned page's words to be kept."""
    ocr_folder: str = Field("", exclude=True)
    """Filled in: the workspace's folder for text layers."""
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
    """Pause that ends a turn where the transcript names no speaker."""
    turn_max_words: int = Field(200, ge=1)
    """Words after which a nameless turn ends at the next sentence."""
    chat_gap_hours: float = Field(8.0, gt=0)
    """Silence in a chat after which its next message begins a new conversation."""
    chat_join_minutes: float = Field(5.0, ge=0)
    """Messages of one sender in a row are one turn if no longer time lies between two."""
    anonymise: bool = False
    """Put placeholders for other people's names and contacts in chats and mail."""
    # What datasets hang on stands under [sources] and [persona]; the flow fills it in.
    columns: dict[str, str] = Field(default_factory=dict, exclude=True)
    """Filled in from sources.map."""
    text_as: Literal["interview", "completion"] = Field("interview", exclude=True)
    """Filled in from sources.text_as."""
    fill: dict[str, str] = Field(default_factory=dict, exclude=True)
    """Filled in from sources.fill."""
    persona: str = Field("", exclude=True)
    """Filled in from persona.name."""
    own_names: list[str] = Field(default_factory=list, exclude=True)
    """Filled in: the persona's names, and the labels that are said to be the persona."""
