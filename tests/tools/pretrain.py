"""Pretrain the embedded tiny base: a small Llama that babbles in the English of old books.

It exists so that the whole pipeline (train, merge, evaluate, chat) runs for real on a machine
with no network and no GPU. Read from top to bottom: books -> paragraphs -> tokens -> model ->
loop -> export.

    python -m tests.tools.pretrain BOOK... -o train/tiny_base --minutes 55
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import math
import posixpath
import random
import re
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils.logging import disable_progress_bar

log = logging.getLogger("memoirist.pretrain")

# The model itself or what torch.compile made of it.
Forward = Callable[..., Any]

END, PAD = "<|endoftext|>", "<|pad|>"
# Rows beyond the tokenizer stay free: the training stage assigns its ChatML tokens there.
TOKENS, ROWS = 4080, 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Hold what one pretraining needs; the defaults made the model that is shipped."""

    output: Path
    minutes: float = 55.0
    layers: int = 4
    hidden_size: int = 256
    intermediate_size: int = 704
    sequence_tokens: int = 512
    batch_rows: int = 4
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.1
    warmup_steps: int = 100
    evaluate_every_steps: int = 250
    held_out_share: float = 0.02
    compile: bool = False
    seed: int = 1


# --- books -> paragraphs ----------------------------------------------------------------------

GUTENBERG = re.compile(
    r"\*\*\* ?START OF TH[^\n]*\*\*\*(.*?)"
    r"(?:End of (?:the |this )?Project Gutenberg|\*\*\* ?END OF TH)",
    re.DOTALL,
)
# Words of the people who made the file, not of the author: only the author's are free to use.
MADE_BY = re.compile(
    r"Produced by |Transcriber|Etext|E-text|Project Gutenberg|https?://|www\.|@|typeset"
    r"|LaTeX|EPUB|public domain|^\[(?:Illustration|Footnote|image)",
    re.IGNORECASE,
)
NOTE_MARKER = re.compile(r"\[\d+\]|\{\d+\}|_|\|")
INDEX_ENTRY = re.compile(r", \d+\.$")


class HtmlParagraphs(HTMLParser):
    """Collect the text of every <p> of an XHTML chapter."""

    def __init__(self) -> None:
        super().__init__()
        self.paragraphs: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open a paragraph."""
        if tag == "p":
            self.inside = True
            self.paragraphs.append("")

    def handle_endtag(self, tag: str) -> None:
        """Close a paragraph."""
        if tag == "p":
            self.inside = False

    def handle_data(self, data: str) -> None:
        """Add text to the open paragraph."""
        if self.inside:
            self.paragraphs[-1] += data


def epub_text(path: Path) -> str:
    """Return the paragraphs of an EPUB in spine order, with blank lines between them."""
    with zipfile.ZipFile(path) as book:
        # S314 warns of hostile XML; these books are chosen by hand.
        container = ElementTree.fromstring(book.read("META-INF/container.xml"))  # noqa: S314
        opf = next(node.get("full-path", "") for node in container.iterfind(".//{*}rootfile"))
        package = ElementTree.fromstring(book.read(opf))  # noqa: S314
        hrefs = {node.attrib["id"]: node.attrib["href"] for node in package.iterfind(".//{*}item")}
        parser = HtmlParagraphs()
        for node in package.iterfind(".//{*}itemref"):
            name = posixpath.join(posixpath.dirname(opf), hrefs[node.attrib["idref"]])
            parser.feed(book.read(name).decode())
    return "\n\n".join(parser.paragraphs)


def plain_text(path: Path) -> str:
    """Decode a text file, and keep only what stands between Gutenberg's own marks."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # what Gutenberg means by its "-8" files
    text = text.replace("\r\n", "\n")
    found = GUTENBERG.search(text)
    return found[1] if found else text


def paragraphs_of(path: Path) -> list[str]:
    """Return a book's paragraphs, each on one line, without headings, notes and lists."""
    text = epub_text(path) if path.suffix == ".epub" else plain_text(path)
    paragraphs = []
    for block in re.split(r"\n\s*\n", text):
        line = NOTE_MARKER.sub("", " ".join(block.split())).strip()
        letters = sum(c.isalpha() and c.islower() for c in line)
        # Headings, contents and tables are short, or do not end like a sentence, or are capitals.
        sentence = len(line) >= 40 and line[-1] in ".!?\"'”’;:—-)" and letters > 0.6 * len(line)
        if sentence and not MADE_BY.search(line) and not INDEX_ENTRY.search(line):
            paragraphs.append(line)
    return paragraphs


def hold_out(
    paragraphs: list[str], share: float, draw: random.Random
) -> tuple[list[str], list[str]]:
    """Split paragraphs into kept and held out, taking neighbours together in tens."""
    kept: list[str] = []
    held: list[str] = []
    for start in range(0, len(paragraphs), 10):
        target = held if draw.random() < share else kept
        target += paragraphs[start : start + 10]
    return kept, held


# --- paragraphs -> tokens ---------------------------------------------------------------------

# Line breaks are pieces of their own, so that a paragraph has the same tokens wherever it
# stands; digits stand alone, so that any year or page can be spelt.
PIECES = r"'(?:s|t|re|ve|m|ll|d)\b| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s*[\r\n]+|\s+(?!\S)|\s+"


def learn_tokenizer(paragraphs: list[str]) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE: any Unicode text survives, because every byte has a token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=TOKENS,
        special_tokens=[END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((p + "\n\n" for p in paragraphs), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
        model_input_names=["input_ids", "attention_mask"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """Hold tokenized books: books of paragraphs of ids, and the ids between and after them."""

    books: list[list[list[int]]]
    blank_line: list[int]
    end: int

    def rows(self, draw: random.Random, length: int) -> list[list[int]]:
        """Pack all texts, cut anew and shuffled, into rows of `length` ids; drop the rest."""
        texts = [text for book in self.books for text in self.texts(book, draw)]
        draw.shuffle(texts)
        stream = [token for text in texts for token in text]
        return [stream[i : i + length] for i in range(0, len(stream) - length + 1, length)]

    def texts(self, book: list[list[int]], draw: random.Random) -> Iterator[list[int]]:
        """Cut a book into texts that close with the end token, half of them 1-3 paragraphs.

        Short texts teach the model to stop; other cuts in every epoch make the few books last.
        """
        start = 0
        while start < len(book):
            size = draw.randint(1, 3) if draw.random() < 0.5 else draw.randint(4, 30)
            run = book[start : start + size]
            text = run[0][:]
            for paragraph in run[1:]:
                text += self.blank_line + paragraph
            yield [*text, self.end]
            start += size


def unseen_ids(corpus: Corpus) -> list[int]:
    """Return the ids that the corpus holds fewer than five times, free rows among them."""
    counts = Counter(token for book in corpus.books for text in book for token in text)
    taught = {*corpus.blank_line, corpus.end}
    return [i for i in range(ROWS) if counts[i] < 5 and i not in taught]


def tokenize(books: list[list[str]], tokenizer: PreTrainedTokenizerFast) -> Corpus:
    """Turn books of paragraphs into ids."""
    return Corpus(
        books=[tokenizer(book)["input_ids"] for book in books if book],
        blank_line=tokenizer("\n\n")["input_ids"],
        end=tokenizer.eos_token_id,
    )


# --- model ------------------------------------------------------------------------------------


def new_model(settings: Settings, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Build the random model; every linear size is divisible by 64, as NF4 wants it."""
    torch.manual_seed(settings.seed)
    config = LlamaConfig(
        vocab_size=ROWS,
        hidden_size=settings.hidden_size,
        intermediate_size=settings.intermediate_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.hidden_size // 64,
        num_key_value_heads=settings.hidden_size // 128,
        head_dim=64,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def learning_rate(settings: Settings, step: int, share_done: float) -> float:
    """Warm up by steps, then follow a cosine over the time budget down to 2 %."""
    warm = min(1.0, (step + 1) / settings.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, share_done)))
    return settings.learning_rate * warm * (0.02 + 0.98 * cosine)


def new_optimizer(settings: Settings, model: LlamaForCausalLM) -> torch.optim.Optimizer:
    """Build AdamW without weight decay on the norms, which it would only shrink."""
    matrices = [p for p in model.parameters() if p.dim() > 1]
    norms = [p for p in model.parameters() if p.dim() == 1]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": norms, "weight_decay": 0.0},
        ],
        betas=(0.9, 0.95),
        fused=True,
    )


def loss_of(model: Forward, rows: torch.Tensor) -> torch.Tensor:
    """Return the mean next-token loss of a batch; bf16 products are half as fast again."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss: torch.Tensor = model(input_ids=rows, labels=rows, use_cache=False).loss
    return loss


def take_step(
    model: Forward, optimizer: torch.optim.Optimizer, rows: torch.Tensor, rate: float
) -> float:
    """Learn from one batch with clipped gradients, and return its loss."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss = loss_of(model, rows)
    torch.autograd.backward(loss)
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    torch.nn.utils.clip_grad_norm_(weights, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


@torch.no_grad()
def held_out_loss(model: LlamaForCausalLM, rows: torch.Tensor, batch: int) -> float:
    """Return the mean loss over the held-out rows."""
    parts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
    losses = [loss_of(model, part).item() * len(part) for part in parts]
    return sum(losses) / len(rows)


def babble(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, prompt: str, seed: int
) -> str:
    """Continue a prompt by sampling, without disturbing the training's random numbers."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        ids = model.generate(
            **tokenizer(prompt, return_tensors="pt"),
            max_new_tokens=80,
            do_sample=True,
            temperature=0.8,
            top_k=50,
        )
    return str(tokenizer.decode(ids[0], skip_special_tokens=False))


# --- loop -------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class Progress:
    """Count what the run has done so far; written beside the weights as training.json."""

    parameters: int
    corpus_tokens: int
    steps: int = 0
    tokens: int = 0
    epochs: int = 0
    minutes: float = 0.0
    best_validation_loss: float = math.inf
    best_step: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)

    def __str__(self) -> str:
        """Say how far the run is."""
        return f"step {self.steps} epoch {self.epochs} minute {self.minutes:.1f}"

    def evaluated(self, train_loss: float, validation_loss: float) -> bool:
        """Note the losses, and say whether this is the best model so far."""
        self.curve.append(
            {
                "step": self.steps,
                "tokens": self.tokens,
                "minutes": self.minutes,
                "train_loss": round(train_loss, 3),
                "validation_loss": round(validation_loss, 4),
            }
        )
        if validation_loss >= self.best_validation_loss:
            return False
        self.best_validation_loss = round(validation_loss, 4)
        self.best_step = self.steps
        return True


def spread(model: LlamaForCausalLM, unseen: list[int], seed: int) -> None:
    """Give every row that training never saw a direction of its own again.

    A softmax pushes the rows of absent tokens the same way at every step, until they are alike to
    a cosine of 1.00 and three times longer than others. Tuning could then teach the model that
    "some rare byte" comes next, never which: Chinese would be out of its reach. Four tenths of
    what they share stays, which is enough to keep them out of English.
    """
    weight = model.get_input_embeddings().weight.data
    seen = torch.ones(len(weight), dtype=torch.bool)
    seen[unseen] = False
    length = weight[seen].norm(dim=1).median()
    chance = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(unseen), weight.shape[1], generator=chance) / weight.shape[1] ** 0.5
    weight[unseen] = 0.4 * weight[unseen].mean(dim=0) + length * noise


def export(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, output: Path, unseen: list[int]
) -> None:
    """Write bf16 weights and tokenizer aside, then rename each file into place."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".export-") as aside:
        shipped = LlamaForCausalLM(model.config)
        shipped.load_state_dict(model.state_dict())
        spread(shipped, unseen, seed=1)
        shipped.bfloat16().save_pretrained(aside)
        tokenizer.save_pretrained(aside)
        for file in Path(aside).iterdir():
            file.chmod(0o644)  # safetensors writes for the owner alone
            file.replace(output / file.name)


def describe(books: list[Path], settings: Settings) -> dict[str, object]:
    """Say what a run was made from: settings, the books' hashes, the version of torch."""
    return {
        "settings": asdict(settings) | {"output": settings.output.name},
        "books": [
            {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            for path in books
        ],
        "torch": torch.__version__,
    }


def pretrain(books: list[Path], settings: Settings) -> Progress:
    """Train on books for the given minutes; export whenever the held-out loss falls."""
    draw = random.Random(settings.seed)
    parts = [hold_out(paragraphs_of(path), settings.held_out_share, draw) for path in books]
    tokenizer = learn_tokenizer([p for kept, _ in parts for p in kept])
    corpus = tokenize([kept for kept, _ in parts], tokenizer)
    held = torch.tensor(
        tokenize([held for _, held in parts], tokenizer).rows(draw, settings.sequence_tokens)
    )
    model = new_model(settings, tokenizer)
    progress = Progress(
        parameters=model.num_parameters(),
        corpus_tokens=sum(len(paragraph) for book in corpus.books for paragraph in book),
    )
    about = describe(books, settings) | {"validation_tokens": held.numel()}
    log.info("%d parameters, %d tokens", progress.parameters, progress.corpus_tokens)

    optimizer = new_optimizer(settings, model)
    forward = torch.compile(model) if settings.compile else model
    rows: list[list[int]] = []
    started = time.monotonic()
    while progress.minutes < settings.minutes:
        if len(rows) < settings.batch_rows:
            rows = corpus.rows(draw, settings.sequence_tokens)
            draw.shuffle(rows)
            progress.epochs += 1
        batch = torch.tensor([rows.pop() for _ in range(settings.batch_rows)])
        rate = learning_rate(settings, progress.steps, progress.minutes / settings.minutes)
        loss = take_step(forward, optimizer, batch, rate)
        progress.steps += 1
        progress.tokens += batch.numel()
        progress.minutes = round((time.monotonic() - started) / 60, 2)

        if progress.steps % 10 == 0:
            speed = progress.tokens / (time.monotonic() - started)
            log.info("%s loss %.3f rate %.1e %.0f tokens/s", progress, loss, rate, speed)
        if (
            progress.minutes >= settings.minutes
            or progress.steps % settings.evaluate_every_steps == 0
        ):
            validation = held_out_loss(model, held, settings.batch_rows)
            better = progress.evaluated(loss, validation)
            log.info("%s validation loss %.4f", progress, validation)
            log.info("babble: %s", babble(model, tokenizer, "When I was a boy", settings.seed))
            if better:
                export(model, tokenizer, settings.output, unseen_ids(corpus))
            figures = json.dumps(about | asdict(progress), indent=1)
            (settings.output / "training.json").write_text(figures + "\n")
    return progress


def main() -> None:
    """Read the command line and pretrain."""
    parser = argparse.ArgumentParser(description="Pretrain the embedded tiny base on books.")
    parser.add_argument("books", nargs="+", type=Path, metavar="BOOK", help=".txt or .epub")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the model")
    parser.add_argument("--minutes", type=float, default=55.0, help="time budget (default 55)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--compile",
        action="store_true",
        help="a third faster; takes a minute first, and a C++ compiler",
    )
    arguments = vars(parser.parse_args())
    disable_progress_bar()  # the log has the figures
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    books = arguments.pop("books")
    done = pretrain(books, Settings(**arguments))
    log.info("%s: best validation loss %.4f", done, done.best_validation_loss)


if __name__ == "__main__":
    main()
