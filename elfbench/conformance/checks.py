"""The checks: each a function of a subject, named by what must hold. They use toys: random weights, bytes, no download.

A check raises Failure or Skip, or returns what it saw. It looks at one thing only, so that a broken entry fails exactly its check.
"""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from elfbench.conformance.audit import TAIL, audit_tail
from elfbench.conformance.verdict import Failure, Skip
from elfbench.core.canonical import array_digest
from elfbench.core.errors import ConfigError
from elfbench.core.seeds import row_seeds
from elfbench.spec.card import ModelCard
from elfbench.spec.sampling import (
    CountedModel,
    DrawingModel,
    LikelihoodModel,
    LikelihoodRequest,
    Model,
    ModelEntry,
    SampleBatch,
    SampleRequest,
    TraceableModel,
)

_ROWS, _LENGTH, _STEPS = 6, 12, 5
_MOVING_REVISIONS = ("main", "master", "latest", "head", "")


@dataclass(frozen=True)
class Subject:
    """An entry under test, with one toy and one batch that checks share."""

    name: str
    entry: ModelEntry
    golden: str | None = None
    """Recorded '<implementation>:<digest>' of the toy's ids."""
    module: str | None = None
    """Where the entry is imported from, to see what that imports."""

    @cached_property
    def model(self) -> Model:
        return self.entry.toy(0)

    @property
    def card(self) -> ModelCard:
        return self.model.card

    @cached_property
    def batch(self) -> SampleBatch:
        return self.model.sample(self.request())

    def request(
        self, *, rows: int = _ROWS, first: int = 0, root_seed: int = 0, steps: int | None = _STEPS
    ) -> SampleRequest:
        """A small request: rows [first, first + rows) of a root seed."""
        numbers = tuple(range(first, first + rows))
        length = min(_LENGTH, self.card.max_length)
        return SampleRequest(
            numbers, row_seeds(root_seed, first, first + rows), length, steps if self.card.has_steps else None
        )


def card_is_complete(subject: Subject) -> str:
    """Title, citation and licence are there, the revision is pinned, defaults are allowed values."""
    card = subject.entry.card
    empty = [name for name in ("name", "title", "summary", "licence", "citation") if not getattr(card, name).strip()]
    if empty:
        raise Failure(f"the card has no {', '.join(empty)}")
    if card.revision.lower() in _MOVING_REVISIONS:
        raise Failure(f"revision {card.revision!r} can move; pin a commit, a version or a digest")
    for name, spec in card.options.items():
        spec.coerce(name, spec.default)
    return f"revision {card.revision}, {len(card.options)} options"


def import_is_light(subject: Subject) -> str:
    """Importing the module of the entry imports no torch and no transformers."""
    if subject.module is None:
        raise Skip("the entry was given as an object, not by name")
    code = f"import sys, importlib\nimportlib.import_module({subject.module!r})\nprint(*{{'torch', 'transformers', 'datasets'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise Failure(f"importing {subject.module} fails: {done.stderr.strip().splitlines()[-1]}")
    if done.stdout.strip():
        raise Failure(f"importing {subject.module} imports {done.stdout.strip()}; import them inside load()")
    return f"{subject.module} is light"


def arrays_have_their_shapes(subject: Subject) -> str:
    """tokens [B, L] int64, the others [B] int64, one text a row, seconds not negative."""
    batch, rows = subject.batch, _ROWS
    for name in ("tokens", "lengths", "nfe", "positions"):
        array = getattr(batch, name)
        if not isinstance(array, np.ndarray) or array.dtype != np.int64:
            raise Failure(f"{name} is {getattr(array, 'dtype', type(array).__name__)}, not an int64 array")
        if array.ndim != (2 if name == "tokens" else 1) or len(array) != rows:
            raise Failure(f"{name} has shape {array.shape} for {rows} rows")
    if len(batch.texts) != rows or len(batch.raw_texts) != rows:
        raise Failure(f"{len(batch.texts)} texts and {len(batch.raw_texts)} raw texts for {rows} rows")
    if not batch.seconds >= 0:
        raise Failure(f"seconds is {batch.seconds}")
    return f"tokens {batch.tokens.shape}"


def lengths_are_honest(subject: Subject) -> str:
    """1 <= length <= the requested length, and no more ids than that are given."""
    batch, asked = subject.batch, subject.request().length
    if batch.lengths.min() < 0 or batch.lengths.max() > min(asked, batch.tokens.shape[1]):
        raise Failure(
            f"lengths {batch.lengths.min()}..{batch.lengths.max()} for {asked} requested tokens and rows of {batch.tokens.shape[1]} ids"
        )
    return f"{batch.lengths.min()}..{batch.lengths.max()} of {asked}"


def ids_are_in_the_vocabulary(subject: Subject) -> str:
    """0 <= id < the card's vocab_size in every row's valid ids."""
    ids = _valid(subject.batch)
    if len(ids) and (ids.min() < 0 or ids.max() >= subject.card.vocab_size):
        raise Failure(f"ids {ids.min()}..{ids.max()} for a vocabulary of {subject.card.vocab_size}")
    return f"{len(ids)} ids below {subject.card.vocab_size}"


def no_mask_or_padding_is_valid(subject: Subject) -> str:
    """No mask or padding id before a row's length."""
    ids, spec = _valid(subject.batch), subject.card.tokenizer
    for name, value in (("mask", spec.mask_id), ("padding", spec.pad_id)):
        # Some tokenizers pad with the end-of-text id, which is a valid id.
        if value is not None and value != spec.eos_id and (ids == value).any():
            raise Failure(f"the {name} id {value} stands {int((ids == value).sum())} times among valid ids")
    return "none"


def same_seeds_give_the_same_ids(subject: Subject) -> str:
    """Sampling the same request twice, and on a second toy, gives equal ids."""
    again = subject.model.sample(subject.request()).tokens
    fresh = subject.entry.toy(0).sample(subject.request()).tokens
    if not (np.array_equal(again, subject.batch.tokens) and np.array_equal(fresh, subject.batch.tokens)):
        raise Failure("the same rows and seeds gave other ids the second time")
    return "equal"


def other_seeds_give_other_ids(subject: Subject) -> str:
    """Another root seed changes the ids, unless the card says that the entry is not stochastic."""
    other = subject.model.sample(subject.request(root_seed=1)).tokens
    equal = np.array_equal(other, subject.batch.tokens)
    if equal and subject.card.stochastic:
        raise Failure("other seeds gave the same ids; if that is meant, say stochastic=False in the card")
    if not equal and not subject.card.stochastic:
        raise Failure("the card says stochastic=False, but other seeds gave other ids")
    return "different" if subject.card.stochastic else "equal, as the card says"


def a_row_alone_equals_the_row_in_a_batch(subject: Subject) -> str:
    """Batches of one and of three give the ids of the whole batch, unless the card says batch_invariant=False."""
    if not subject.card.batch_invariant:
        raise Skip("the card says batch_invariant=False")
    for size in (1, 3):
        parts = [
            subject.model.sample(subject.request().part(start, start + size)).tokens for start in range(0, _ROWS, size)
        ]
        if not np.array_equal(np.concatenate(parts), subject.batch.tokens):
            raise Failure(
                f"batches of {size} gave other ids than one batch of {_ROWS}; key noise by row seed, or say batch_invariant=False"
            )
    return "equal at batch 1, 3, 6"


def the_global_random_state_is_untouched(subject: Subject) -> str:
    """Sampling neither reads nor moves the generators of random, numpy and torch."""
    model, request = subject.model, subject.request()
    before = _random_states()
    model.sample(request)
    moved = [name for name, state in _random_states().items() if name in before and state != before[name]]
    if moved:
        raise Failure(f"sampling moved the global generator of {', '.join(moved)}")
    return ", ".join(before)


def nfe_is_what_ran(subject: Subject) -> str:
    """At batch 1, nfe equals the counted forward calls; an entry without a network says 0."""
    model = subject.model
    if not isinstance(model, CountedModel):
        if subject.batch.nfe.any():
            raise Failure("nfe is not 0, but the model names no network in `counted`, so it can't be checked")
        return "no network, 0 forward passes"
    calls: list[int] = []
    handle = model.counted.register_forward_hook(lambda module, args, out: calls.append(1))
    try:
        said = int(model.sample(subject.request(rows=1)).nfe[0])
    finally:
        handle.remove()
    if said != len(calls):
        raise Failure(f"nfe says {said}, the network ran {len(calls)} times")
    return f"{said} of {len(calls)}"


def steps_are_honored(subject: Subject) -> str:
    """One step and the maximum work, and more steps do not cost less; without a network, other steps give other ids."""
    card = subject.card
    if not card.has_steps:
        raise Skip("the entry has no steps")
    most = card.max_steps or 1024
    batches = [subject.model.sample(subject.request(rows=1, steps=steps)) for steps in (1, min(8, most), most)]
    if not isinstance(subject.model, CountedModel):
        if most > 1 and np.array_equal(batches[0].tokens, batches[1].tokens):
            raise Failure(f"1 and {min(8, most)} steps gave the same ids")
        return f"other ids at 1 and {min(8, most)} steps"
    costs = [int(batch.nfe[0]) for batch in batches]
    if costs != sorted(costs) or (most > 1 and costs[0] == costs[1]):
        raise Failure(f"1, {min(8, most)} and {most} steps took {costs} forward passes")
    return f"{costs} forward passes at 1, {min(8, most)}, {most} steps"


def an_unknown_option_is_refused(subject: Subject) -> str:
    """An option that the card does not have is a ConfigError that names it."""
    name = "no_such_option"
    request = subject.request(rows=1)
    wrong = SampleRequest(request.rows, request.seeds, request.length, request.steps, options={name: 1})
    try:
        subject.model.sample(wrong)
    except ConfigError as error:
        if name in str(error):
            return "refused by name"
        raise Failure(f"the error does not name the option: {error}") from error
    except Exception as error:
        raise Failure(f"an unknown option raised {type(error).__name__} and not a ConfigError") from error
    raise Failure("an unknown option was accepted; resolve options with card.all_options(request.options)")


def raw_texts_are_the_valid_ids(subject: Subject) -> str:
    """raw_texts is the decoding of the valid ids with specials written out."""
    batch = subject.batch
    for row in range(_ROWS):
        decoded = subject.model.tokenizer.decode(batch.tokens[row, : int(batch.lengths[row])], specials=True)
        if decoded != batch.raw_texts[row]:
            raise Failure(f"row {row}: raw text {batch.raw_texts[row][:40]!r} is not the decoding {decoded[:40]!r}")
    return "equal"


def a_trace_ends_in_the_sample(subject: Subject) -> str:
    """The last frame's ids are those of sample, progress rises to 1."""
    model = subject.model
    if not isinstance(model, TraceableModel):
        raise Skip("the entry has no trace")
    path = model.trace(subject.request(), 4)
    if not np.array_equal(path.tokens[-1], subject.batch.tokens):
        raise Failure("the last frame is not what sample gives")
    if path.progress[-1] != 1.0 or np.any(np.diff(path.progress) <= 0):
        raise Failure(f"progress is {path.progress.tolist()}, not rising to 1")
    if not len(path.progress) == len(path.tokens) == len(path.texts):
        raise Failure("frames of progress, tokens and texts differ in number")
    return f"{len(path.progress)} frames"


def the_nll_bounds(subject: Subject) -> str:
    """exp(-nll) over all one-character texts sums to at most 1, and a longer text is not likelier than its beginning."""
    model = subject.model
    if not isinstance(model, LikelihoodModel):
        raise Skip("the entry scores no text")
    if model.bound == "estimate":
        raise Skip("the entry says that its nll is an estimate, no bound")
    letters = tuple(chr(code) for code in range(1, 128))
    found = model.nll(LikelihoodRequest(letters, tuple(range(len(letters)))))
    if not np.isfinite(found.nll_nats).all():
        raise Failure("an nll is not finite")
    slack = 4 * float(np.sqrt(np.square(np.exp(-found.nll_nats) * found.error_nats).sum()))
    total = float(np.exp(-found.nll_nats).sum())
    if total > 1.0 + slack + 1e-4:
        raise Failure(f"probabilities of all one-letter texts sum to {total:.4f}: the nll is no upper bound")
    if model.bound == "exact":
        longer = model.nll(LikelihoodRequest(tuple(letter + "a" for letter in letters), tuple(range(len(letters)))))
        if (longer.nll_nats < found.nll_nats - 1e-4).any():
            raise Failure("a text is likelier than its own beginning")
    return f"sums to {total:.4f} over 127 letters"


def the_draw_is_right_in_the_tail(subject: Subject) -> str:
    """Of all float64 uniforms, each id gets its probability's share, down to 1e-7; a draw in float32 does not."""
    model, family = subject.model, subject.card.family
    if family in ("control", "reference"):
        raise Skip(f"a {family} has no sampler to audit")
    if not isinstance(model, DrawingModel):
        raise Skip("the entry names no `draw`, so the tail was not audited")
    try:
        audit = audit_tail(model.draw)
    except ValueError as error:
        raise Failure(f"the draw can't be measured: {error}") from error
    if audit.never_due:
        raise Failure(f"ids of probability 0 are drawn with probability {audit.never_due:.1e}")
    due, ratio = audit.worst
    if not audit.passed:
        raise Failure(
            f"an id of probability {due:.0e} is drawn {ratio:.6g} times as often as it should; draw in float64"
        )
    return f"down to {min(TAIL):.0e}, rates are right to {max(abs(ratio - 1.0), 1e-16):.0e}"


def golden_ids_are_unchanged(subject: Subject) -> str:
    """The toy's ids have the recorded digest."""
    if subject.golden is None:
        raise Skip("no golden ids are recorded for this entry")
    found = toy_ids(subject.entry)
    if found != subject.golden:
        raise Failure(f"ids changed ({found}, recorded {subject.golden}): raise implementation or mend the sampler")
    return found


def toy_ids(entry: ModelEntry) -> str:
    """'<implementation>:<digest of the ids of a toy request>'."""
    subject = Subject("toy", entry)
    return f"{entry.card.implementation}:{array_digest([subject.batch.tokens])[:16]}"


CHECKS: tuple[Callable[[Subject], str], ...] = (
    card_is_complete,
    import_is_light,
    arrays_have_their_shapes,
    lengths_are_honest,
    ids_are_in_the_vocabulary,
    no_mask_or_padding_is_valid,
    same_seeds_give_the_same_ids,
    other_seeds_give_other_ids,
    a_row_alone_equals_the_row_in_a_batch,
    the_global_random_state_is_untouched,
    nfe_is_what_ran,
    steps_are_honored,
    an_unknown_option_is_refused,
    raw_texts_are_the_valid_ids,
    a_trace_ends_in_the_sample,
    the_nll_bounds,
    the_draw_is_right_in_the_tail,
    golden_ids_are_unchanged,
)


def _valid(batch: SampleBatch) -> np.ndarray:
    """All valid ids of a batch in one array."""
    return np.concatenate([row[: int(length)] for row, length in zip(batch.tokens, batch.lengths, strict=True)])


def _random_states() -> dict[str, Any]:
    """Comparable states of the global generators that are loaded."""
    states: dict[str, Any] = {"random": random.getstate(), "numpy": str(np.random.get_state(legacy=False))}  # noqa: NPY002 - looked at, not used
    torch = sys.modules.get("torch")
    if torch is not None:
        states["torch"] = torch.random.get_rng_state().numpy().tobytes()
    return states
