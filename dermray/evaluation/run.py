"""The evaluation stage: real and synthetic rows in, tables of numbers with their floors and pictures out.

Below its data lie `evaluation.html`, `evaluation.json`, `table.csv` and the pictures. Features of all images lie in
`features` until the manifest is written: a killed evaluation goes on with those that it lacks.
"""

from collections import Counter
from typing import TYPE_CHECKING, Any

from dermray import manifest, storage
from dermray.columns import tally
from dermray.evaluation.report_block import report_block as report_block  # into a run's report
from dermray.evaluation.settings import EvaluationConfig
from dermray.features.extractor import settled
from dermray.leak_mark import leak_mark
from dermray.manifest import Result, Rows, Work
from dermray.progress import busy, rows_written, watched
from dermray.training.clip_score import check_clip

if TYPE_CHECKING:
    from dermray.evaluation.extraction import Images, Networks
    from dermray.evaluation.measure import Inputs


def run(config: EvaluationConfig) -> Result:
    """Train the judge on images that no other model saw, compute all features, then measure.

    Raises:
        FileNotFoundError, ValueError: missing inputs or weights, other networks' weights, no usable images, or
            synthetic images that were made from other rows.
    """
    rows, sources = manifest.read(config.rows, "caption"), synthetic_results(config)
    extractors = tuple(settled(extractor) for extractor in config.extractors)
    if config.clip:
        check_clip(config.clip, config.clip_revision, "clip")
    config = config.model_copy(update={"extractors": extractors})
    first, *others = sources.items()
    named = {"synthetic": first[1]} | {f"synthetic {name}": result for name, result in others}
    identity = {"sources": ", ".join(sources)} if isinstance(config.synthetic, dict) else {}
    with manifest.work("evaluate", config.output, config, {"rows": rows} | named, **identity) as work:
        if work.finished:
            return work.finished
        from dermray.cluster import connect
        from dermray.evaluation.measure import Inputs

        connect(work.uri)
        counts, metrics = _measured(work, Inputs(rows, sources, config.rows), config)
        return work.commit(counts, counts.rows_in, cpus=config.cpus, temporary=["features/"], **metrics)


def synthetic_results(config: EvaluationConfig) -> dict[str, Result]:
    """By name.

    Raises:
        FileNotFoundError, ValueError: not there, another stage's, or without a usable image.
    """
    given = {"synthetic": config.synthetic} if isinstance(config.synthetic, str) else config.synthetic
    results = {name: manifest.read(uri, "generate") for name, uri in given.items()}
    for uri, result in zip(given.values(), results.values(), strict=True):
        rows = result.manifest.rows
        if not rows.ok:
            reasons = "; ".join(f"{number} {reason}" for reason, number in rows.reasons.items())
            raise ValueError(
                f"synthetic={uri}: none of {rows.rows_in} images is usable ({reasons}); give a result with images that "
                "passed the gate"
            )
    return results


def _measured(work: Work, inputs: "Inputs", config: EvaluationConfig) -> tuple[Rows, dict[str, Any]]:
    """How many images were seen, and the metrics, which lie below the work's data too, with pages and pictures."""
    import ray

    from dermray.evaluation import measure
    from dermray.evaluation.extraction import Images, Networks

    judge = storage.join(work.data, "features", "judge.pt")
    networks = Networks(config.extractors, judge)
    with watched(busy("training the judge")):
        size = ray.get(_task(measure.prepare, config).remote(inputs, judge, config))
        described = ray.get(_task(measure.describe, config).remote(networks))
    kinds = [Images.real(inputs.rows, config.real), *map(Images.synthetic, inputs.sources.values())]
    places = [storage.join(work.data, "features", name) for name in ("real", *map(str, range(len(inputs.sources))))]
    counted = [_extract(*item, networks, size, config) for item in zip(kinds, places, strict=True)]
    with watched(busy("measuring")):
        found, pictures = _all(inputs, described, places, judge, size, config)
    found |= {"extractors": described, "image_size": size, "real_images": config.real}
    found["pictures"] = sorted(pictures)
    found["images"] = {"real": _ok(counted[0]), "synthetic": sum(map(_ok, counted[1:]))}
    for name, part in zip(inputs.sources, counted[1:], strict=True):
        found["sources"][name]["images"] = _ok(part)
    ray.get(_task(_write, config).remote(work.data, found, pictures, leak_mark(work.leaking_groups)))
    return Rows.count(sum(counted, Counter())), found


def _task(function: Any, config: EvaluationConfig) -> Any:
    """As a Ray task: what it needs takes seconds to import, and the driver does without."""
    import ray

    return ray.remote(function).options(num_cpus=config.cpus)


def _extract(images: "Images", place: str, networks: "Networks", size: int, config: EvaluationConfig) -> Counter[Any]:
    """How often each status occurs among the images whose features now lie at a place, each once.

    Raises:
        RuntimeError: features were lost or doubled.
    """
    from dermray.evaluation.extraction import extract, wanted

    rows, expected = storage.join(place, "rows"), wanted(images)
    with watched(rows_written(rows, expected, ("Embed",))):
        extract(images, networks, size, place, config)
    found: Counter[Any] = tally(rows, [])
    if found.total() != expected:
        raise RuntimeError(
            f"{rows}: features of {found.total()} images were written, expected {expected}; remove {place} and start "
            "again"
        )
    return found


def _ok(counts: Counter[Any]) -> int:
    return sum(number for (status, *_), number in counts.items() if status == "ok")


def _all(
    inputs: "Inputs",
    described: list[dict[str, Any]],
    places: list[str],
    judge: str,
    size: int,
    config: EvaluationConfig,
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """All numbers and pictures, from tasks that run side by side where there is room."""
    import ray

    from dermray.evaluation import measure
    from dermray.evaluation.stored import Stored

    of_real = _task(measure.judge_real, config).remote(inputs, judge, size, config)
    of_source, in_features = {}, {}
    for number, name in enumerate(inputs.sources):
        of_source[name] = _task(measure.judge_source, config).remote(inputs, name, number, judge, size, config)
        for place, extractor in enumerate(described):
            sides = (Stored(storage.join(places[i], "rows"), place) for i in (0, number + 1))
            label = f"{name} in features of {extractor['name']}"
            arguments = (*sides, label, f"{number}-{place}", config)
            in_features[name, place] = _task(measure.distances, config).remote(*arguments)
    found, pictures = ray.get(of_real)
    found["sources"] = {}
    for name, task in of_source.items():
        own, images = ray.get(task)
        pictures |= images
        for place, extractor in enumerate(described):
            numbers, images = ray.get(in_features[name, place])
            pictures |= images
            own.setdefault("features", []).append({"extractor": extractor["name"]} | numbers)
        found["sources"][name] = own
    return found, pictures


def _write(data: str, found: dict[str, Any], pictures: dict[str, bytes], mark: str) -> None:
    from dermray.evaluation import page

    page.write(data, found, pictures, mark)
