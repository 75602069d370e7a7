"""`elfbench score`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from elfbench.cli.output import Json, print_json, print_table, progress_display, stderr


def command(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Samples: .jsonl, .json, .txt (a text a line), .csv or .parquet.")
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            help="A metric or family (elfbench list metrics). Repeatable; default: entropy, distinct, rep_n.",
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option("--judge", metavar="ID|DIR", help="For gen_ppl: a judge's name or a Hugging Face model folder."),
    ] = None,
    featurizer: Annotated[
        str | None, typer.Option("--featurizer", help="For metrics on embeddings; default: minilm.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            metavar="CORPUS|FILE",
            help="Held-out text, for metrics that compare; for bleu, rouge, chrf and exact_match a FILE with one row per sample.",
        ),
    ] = None,
    training: Annotated[
        str | None,
        typer.Option(
            "--training",
            metavar="CORPUS[:SPLIT]",
            help="What the model was trained on, for longest_match and novelty_n, beside --reference: sotu:train, or a file.",
        ),
    ] = None,
    field: Annotated[str | None, typer.Option("--field", help="The text field; default: text, else generated.")] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer", help="Measuring tokenizer: words (default), judge (default with --judge), or a folder."
        ),
    ] = None,
    window: Annotated[
        int | None, typer.Option("--window", min=1, help="Measure only the first so many tokens.")
    ] = None,
    short: Annotated[str, typer.Option("--short", metavar="drop|keep", help="Rows shorter than the window.")] = "drop",
    protocol: Annotated[
        str, typer.Option("--protocol", help="Protocol of the metrics, e.g. elf for bleu or gen_ppl.")
    ] = "clean",
    label: Annotated[
        str | None, typer.Option("--label", help="How reports call these samples; default: the file's name.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="STORE", help="Keep everything in this store, for elfbench report.")
    ] = None,
    json: Json = False,
) -> None:
    """Measure anybody's samples, without any model.

    Example:  elfbench score samples.jsonl --metric distinct --out STORE
    """
    from elfbench.core.errors import unknown
    from elfbench.loading.samples import load_texts
    from elfbench.running.score import DEFAULT_METRICS, score_texts
    from elfbench.spec.measure import Measure

    if short not in ("drop", "keep"):
        raise unknown("value", short, ("drop", "keep"), key="--short")
    texts = load_texts(file, field)
    wanted = tokenizer or ("judge" if judge else "words")
    measure = Measure(tokenizer=wanted, window=window, short="drop" if short == "drop" else "keep")
    with progress_display() as reporter:
        results, missing = score_texts(
            texts,
            metric or DEFAULT_METRICS,
            reference=reference,
            judge=judge,
            featurizer=featurizer or ("minilm" if _reads_features(metric or ()) else None),
            measure=measure,
            label=label or file.stem,
            out=out,
            reporter=reporter,
            protocol=protocol,
            training=training,
        )
    for gap in missing:
        stderr.print(f"not computed: {gap.metric}: {gap.why}", style="yellow", markup=False, soft_wrap=True)
    if json:
        print_json({"file": file.name, "results": results, "not_computed": {gap.metric: gap.why for gap in missing}})
        return
    rows = [
        (
            r["metric"] if r["protocol"] == "clean" else f"{r['metric']} ({r['protocol']})",
            f"{r['value']:.4g}",
            f"[{r['low']:.4g}, {r['high']:.4g}]",
            r["n"],
            r["n_dropped"],
            r["unit"],
            r["direction"],
        )
        for r in results
    ]
    print_table(
        ["metric", "value", "95% interval", "n", "dropped", "unit", "better"],
        rows,
        right=("value", "n", "dropped"),
    )
    for r in results:
        if "held_out" in r["detail"]:
            value, low, high = (r["detail"][key] for key in ("held_out", "held_out_low", "held_out_high"))
            held_out = f"{value:.4g} [{low:.4g}, {high:.4g}]"
            stderr.print(f"{r['metric']} of the reference text: {held_out}", style="dim", markup=False, soft_wrap=True)
    for signature in dict.fromkeys(r["signature"] for r in results if "signature" in r):
        stderr.print(f"sacreBLEU signature: {signature}", style="dim", markup=False, soft_wrap=True)
    if out is not None:
        stderr.print(f"next: elfbench report {out} --out DIR", style="dim", markup=False, soft_wrap=True)


def _reads_features(names: Sequence[str]) -> bool:
    from elfbench.registry import catalog

    members = [member for name in names for member in catalog.expand_metrics(name)]
    return any(
        member in catalog.metrics() and catalog.metrics().get(member).measurement == "features" for member in members
    )
