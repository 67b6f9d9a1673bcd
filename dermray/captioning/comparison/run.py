"""`dermray compare-captioners`: the same images captioned by several models, audited, and graded blindly by experts.

Paper 002 (section 2.1) chose its captioner so: three models on 100 images, two experts. Everything that is made is a
result of its own, so the same command goes on after a crash, and asks no captioner again when experts have answered:

    <output>/images            the images, as rows of the ingest stage
    <output>/captions/<name>   a result of the caption stage for each captioner
    <output>/audit             of audit-captions: audit.html, and compare.html for the experts
    <output>/experts/*.json    what experts saved from compare.html, put there by you
    <output>/graded-<hash>     of audit-captions with those files: grades and kappa
"""

from collections.abc import Mapping
from html import escape

from dermray import storage
from dermray.captioning import run as captioning
from dermray.captioning.audit import run as audit
from dermray.captioning.audit.run import AuditConfig
from dermray.captioning.comparison.images import chosen
from dermray.captioning.comparison.settings import CompareConfig
from dermray.manifest import Result
from dermray.pages import Block


def run(config: CompareConfig) -> Result:
    """Choose, caption, audit. The result is the audit's.

    Raises:
        FileNotFoundError, ValueError, ConnectionError: as of the caption stage, for all captioners before the first one
            starts; answers to another page.
    """
    files, place = config.answers, config.result
    chosen(config)
    captions = config.caption_configs()
    for asked in captions.values():
        if not storage.exists(storage.join(asked.output, "manifest.json")):
            captioning.require_ready(asked)
    for number, (name, asked) in enumerate(captions.items(), 1):
        print(f"[{number}/{len(captions)}] {name} ...", flush=True)
        rows = captioning.run(asked).manifest.rows
        print(f"[{number}/{len(captions)}] {name}: {rows.ok} of {rows.rows_in} images captioned", flush=True)
    result = audit.run(
        AuditConfig(
            output=place,
            captions=[asked.output for asked in captions.values()],
            folds=config.folds,
            images=config.images,
            expert_answers=files,
            seed=config.seed,
        )
    )
    print("\n".join(table(result)), flush=True)
    if not files:
        print(
            f"send experts {result.data}/compare.html; put what they save into {config.output}/experts and start this "
            "again",
            flush=True,
        )
    return result


def table(result: Result) -> list[str]:
    """A line for each captioner: share of usable captions, contradictions of metadata, label leak, experts' grades."""
    metrics = result.manifest.metrics
    grades = (metrics["experts"] or {}).get("mean_grade", {})
    lines = [f"{'captioner':<32}{'usable':>8}{'contradicts':>13}{'leak AUC':>10}" + "".join(f"{e:>12}" for e in grades)]
    for name, found in metrics["captioners"].items():
        said = sum(rate["mentioned"] for rate in found["metadata"].values())
        wrong = sum(rate["contradicted"] for rate in found["metadata"].values())
        leak = found["label_leak"].get("auc")
        cells = [f"{found['usable_share']:>8.0%}", f"{wrong / said:>13.1%}" if said else f"{'-':>13}"]
        cells += [f"{leak:>10.2f}" if leak is not None else f"{'-':>10}"]
        lines.append(f"{name:<32}" + "".join(cells) + "".join(f"{mean[name]:>12.2f}" for mean in grades.values()))
    for pair in (metrics["experts"] or {}).get("agreement", []):
        kappa, weighted = (f"{k:.2f}" if k is not None else "-" for k in (pair["kappa"], pair["weighted_kappa"]))
        lines.append(
            f"{' and '.join(pair['experts'])}: kappa {kappa}, weighted {weighted}, {pair['captions']} captions"
        )
    return lines


def report_block(result: Result, inputs: Mapping[str, Result]) -> Block:
    """The same table, for a run's report."""
    return Block("Captioners compared", "<pre>" + escape("\n".join(table(result))) + "</pre>")
