"""`dermray <stage> --config <file or preset> [key=value ...]`: fills a config, calls run."""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from dermray import __version__
from dermray.cluster import asked_for_logs
from dermray.commands.arguments import config_path, positive, with_config
from dermray.commands.plan import planned, with_plan
from dermray.commands.run import COMMANDS as RUNS
from dermray.commands.run import run as run_graph
from dermray.commands.run import with_runs
from dermray.config import ConfigError, load, read_file
from dermray.describe import options as describe
from dermray.failures import plain_cause

LATEST = "runs/quickstart"  # what `dermray serve` serves where it is told nothing
DESCRIPTIONS = {
    "ingest": "turn sources of images into rows with leak groups and splits",
    "captioner": "train the nano vision-language model on phantoms",
    "caption": "caption rows with vLLM in Ray Data, or with a remote endpoint",
    "instruct": "write question-answer pairs about images, with vLLM or a remote endpoint",
    "tune-vlm": "fine-tune a vision-language model on captions or question-answer pairs, by LoRA or in full",
    "train": "train a text-to-image generator",
    "generate": "draw synthetic images by a plan over label, skin tone and other attributes",
    "evaluate": "compare synthetic images with real ones",
    "sweep": "train classifiers on real and synthetic images in any ratio, with controls",
    "sweep-splits": "pool sweeps of several splits of the same data into one verdict",
    "classify": "train one classifier on labelled rows",
    "predict": "score every image of an ingested data set with a trained classifier",
    "audit-classifier": "test whether a classifier's score shifts when only skin tone, sex or site changes",
    "audit-captions": "test whether captions are true, leak the label, and are informative",
    "compare-captioners": "run several captioners on the same images, audit them, and have experts grade them blindly",
    "compare-paper": "put a paper's numbers and those of a run beside each other, with the reasons not to compare them",
    "vqa": "ask captioners questions with known answers, score them, and compare before and after tuning",
    "reader-study build": "build a blinded set of original and synthetic images for readers, and its sealed key",
    "reader-study analyse": "analyse readers' answers: accuracy, agreement, comparison with classifiers",
}
PREVIEWS = {
    "caption": "print the first N filled prompts",
    "instruct": "print the first N filled prompts",
    "generate": "print the plan's cells and its first N requests",
}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    root = argparse.ArgumentParser(prog="dermray", description="Synthetic skin-lesion images on a Ray cluster.")
    root.add_argument("--version", action="version", version=__version__)
    commands = root.add_subparsers(dest="command", required=True, metavar="command")
    steps: dict[str, Any] = {}
    for name, text in DESCRIPTIONS.items():
        stage, _, step = name.partition(" ")
        if step and stage not in steps:
            group = commands.add_parser(stage, help="a blinded reader study of original and synthetic images")
            steps[stage] = group.add_subparsers(dest="step", required=True, metavar="step")
        command = (steps[stage] if step else commands).add_parser(step or stage, help=text)
        with_config(command, required=True)
        if name in ("train", "tune-vlm"):
            command.add_argument(
                "--dry-run",
                action="store_true",
                help="print a forecast of memory, operations and files; start nothing",
            )
        if name == "sweep":
            command.add_argument(
                "--extend",
                metavar="RESULT",
                help="an earlier sweep of the same data; run only the trials that it lacks",
            )
        if name in PREVIEWS:
            command.add_argument("--preview", type=positive, metavar="N", help=f"{PREVIEWS[name]}; start nothing")
        if name in ("caption", "instruct"):
            command.add_argument(
                "--retry-failed",
                metavar="RESULT",
                help="ask again only about rows that were rejected or failed in an earlier result",
            )
        if name == "classify":
            command.add_argument(
                "--search", type=int, nargs="?", const=16, metavar="N",
                help="first try N learning rates and augmentations by Optuna and ASHA (default: 16); needs "
                "dermray[search]",
            )  # fmt: skip
    _with_readers(steps["reader-study"])
    with_runs(commands)
    describe.options(
        commands.add_parser("describe", help="describe a result: counts, a page, proof that no split leaks")
    )
    export = commands.add_parser("export", help="export rows as a data set, or a LoRA for kohya's scripts and ComfyUI")
    export.add_argument("result", help="result of the ingest, caption, instruct or generate stage; or of train")
    export.add_argument("place", help="new directory or s3:// URI; for a LoRA, the .safetensors file to write")
    forms = ["parquet", "imagefolder", "webdataset", "hf", "llava", "sharegpt", "merged"]
    export.add_argument(
        "--format",
        choices=forms,
        help="default: parquet; hf, llava and sharegpt are conversations; merged (tune-vlm only) merges the adapter "
        "into its base",
    )
    with_config(export, required=False)
    _with_provenance(commands)
    _with_import(commands.add_parser("import", help="import weights of other projects"))
    serve = commands.add_parser("serve", help="serve generation, classification and captions over HTTP")
    serve.add_argument("--run", help=f"directory of a finished run; default: {LATEST}, unless the config names models")
    with_config(serve, required=False)
    serve.add_argument("--host", default="127.0.0.1", help="0.0.0.0 admits other machines; there is no TLS")
    serve.add_argument("--port", type=int, default=8000)
    _with_key(commands)
    _with_reference(commands)
    with_plan(commands)
    return root


def _with_reference(commands: Any) -> None:
    presets = commands.add_parser("presets", help="list the presets that --config takes, with a line each")
    presets.add_argument("stage", nargs="?", help="list only this stage's presets")
    config = commands.add_parser(
        "config", help="print a stage's config: every field, its default and its possible values"
    )
    config.add_argument("stage", help="for example train, 'reader-study build', run or serve")
    config.add_argument("kind", nargs="?", help="a family for train (flux_lora), a source for ingest (ham10000)")
    config.add_argument("--schema", action="store_true", help="as JSON schema, for editors")
    doctor = commands.add_parser(
        "doctor", help="check that this machine, its cluster and its storage can do what a run needs"
    )
    doctor.add_argument("--stage", help="the stage that --config is for, if it is not a preset")
    doctor.add_argument("--output", help="directory or s3:// URI for results")
    with_config(doctor, required=False)


def _with_provenance(commands: Any) -> None:
    images = commands.add_parser("export-images", help="export images of a generate result as PNG files with a table")
    images.add_argument("result", help="result of the generate stage")
    images.add_argument("directory", help="new directory or s3:// URI")
    with_config(images, required=False)
    said = commands.add_parser("provenance", help="print and verify where image files come from")
    said.add_argument("files", nargs="+", metavar="file", help="local path or s3:// URI")
    said.add_argument("--trust", metavar="PEM", help="certificates of authorities to trust")


def _with_key(commands: Any) -> None:
    key = commands.add_parser("key", help="make an API key, and its line for the key file")
    key.add_argument("name", help="the key's owner, for logs and metrics")
    key.add_argument(
        "--scopes",
        default="generate,classify,caption",
        help="any of generate, classify, caption, browse (runs' pages), study (readers' answers), admin",
    )
    key.add_argument("--days", type=int, help="days until the key expires; default: never")
    key.add_argument("--requests-per-minute", type=int)
    key.add_argument("--images-per-day", type=int)


def _with_readers(steps: Any) -> None:
    """Of studies that `dermray serve` shows."""
    codes = steps.add_parser("codes", help="make readers' codes for a study that the service shows in a browser")
    answers = steps.add_parser("answers", help="write readers' answers from the browser as files that analyse reads")
    for command in (codes, answers):
        with_config(command, required=False)
        command.add_argument(
            "--study", required=True, metavar="NAME", help="a study under reader_studies in the service's config"
        )
    codes.add_argument(
        "--readers",
        required=True,
        nargs="+",
        metavar="READER",
        help="names, which become the names of their answer files",
    )
    codes.add_argument("--renew", action="store_true", help="replace the codes of readers who have one; answers stay")
    answers.add_argument("--readers", nargs="+", metavar="READER", help="default: all")
    answers.add_argument("--to", required=True, metavar="PLACE", help="directory or s3:// URI")


def _with_import(command: argparse.ArgumentParser) -> None:
    glide = command.add_subparsers(dest="model", required=True, metavar="model").add_parser(
        "glide", help="OpenAI's GLIDE, the base of the preset train/glide_paper"
    )
    weights = "https://openaipublic.blob.core.windows.net/diffusion/dec-2021"
    glide.add_argument("--base", type=Path, required=True, help=f"{weights}/base.pt")
    glide.add_argument("--upsampler", type=Path, required=True, help=f"{weights}/upsample.pt")
    glide.add_argument(
        "--tokenizer", type=Path, required=True,
        help="directory with encoder.json and vocab.bpe (or .gz), as in github.com/openai/glide-text2im",
    )  # fmt: skip
    glide.add_argument("--output", type=Path, default=Path("runs/glide"), help="directory to create")


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command. A wrong config or command line ends with a message and exit code 2, all else that fails with 1."""
    arguments = _parsed(argv)
    ending(lambda: _run(arguments))


def ending(run: Callable[[], None]) -> None:
    """Call it; end with a message and an exit code where it fails, as `main` says."""
    try:
        run()
    except ConfigError as error:
        sys.exit(_say(error, 2))
    except KeyboardInterrupt:
        sys.exit(_say("interrupted; run the same command again to go on from here", 130))
    except Exception as error:
        cause = plain_cause(error)
        if asked_for_logs() or not (cause.mendable or cause.trace):
            raise  # a defect of ours: the traceback is the message
        if not cause.mendable:
            print(cause.trace, file=sys.stderr)
        told = str(cause) if cause.mendable else f"{cause} (a defect of dermray; the lines above say where)"
        sys.exit(_say("; ".join([told, *getattr(error, "__notes__", ())]), 1))


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line, with key=value after options too: argparse takes them in one place alone."""
    root = parser()
    arguments, others = root.parse_known_args(argv)
    if strange := [text for text in others if text.startswith("-") or not hasattr(arguments, "overrides")]:
        hint = "; scale=NAME is written without dashes here" if "--scale" in " ".join(strange) else ""
        root.error(f"unrecognized arguments: {' '.join(strange)}{hint}")
    if others:
        arguments.overrides = [*arguments.overrides, *others]
    return arguments


def _say(message: object, code: int) -> int:
    print(f"dermray: {message}", file=sys.stderr)
    return code


def _run(arguments: argparse.Namespace) -> None:
    from dermray.cluster import prepare_environment

    prepare_environment()
    if arguments.command == "serve":
        _serve(arguments)
    elif arguments.command == "key":
        _key(arguments)
    elif arguments.command == "doctor":
        _doctor(arguments)
    elif arguments.command == "plan":
        print(planned(arguments))
    elif arguments.command in ("presets", "config"):
        print(_reference(arguments))
    elif getattr(arguments, "step", None) in ("codes", "answers"):
        _readers(arguments)
    elif arguments.command == "describe":
        from dermray.describe.run import run as describe_result

        describe_result(arguments)
    elif arguments.command == "export":
        _export(arguments)
    elif arguments.command == "export-images":
        _export_images(arguments)
    elif arguments.command == "provenance":
        _provenance(arguments)
    elif arguments.command == "import":
        _import(arguments)
    elif arguments.command in RUNS:
        run_graph(arguments)
    else:
        _run_stage(arguments)


def _serve(arguments: argparse.Namespace) -> None:
    from dermray.serving.run import serve_here
    from dermray.serving.settings import ServiceConfig

    says_what = arguments.config or any(
        override.startswith(("run=", "models=", "reader_studies=")) for override in arguments.overrides
    )
    run = arguments.run or (None if says_what else LATEST)
    given = [f"run={json.dumps(run)}"] if run else []
    serve_here(
        load(ServiceConfig, _service_file(arguments), [*given, *arguments.overrides]), arguments.host, arguments.port
    )


def _service_file(arguments: argparse.Namespace) -> Path | None:
    path = config_path(arguments.config) if arguments.config else None
    if path is not None and path.is_file() and re.search(r"^applications:", path.read_text(errors="replace"), re.M):
        raise ConfigError(f"{path}: `serve deploy` takes this file; give what stands below `args` in it")
    return path


def _readers(arguments: argparse.Namespace) -> None:
    from dermray.serving.reading import command
    from dermray.serving.settings import ServiceConfig

    config = load(ServiceConfig, _service_file(arguments), arguments.overrides)
    if arguments.step == "codes":
        print(command.codes(config, arguments.study, arguments.readers, arguments.renew))
    else:
        print(command.answers(config, arguments.study, arguments.readers, arguments.to))


def _key(arguments: argparse.Namespace) -> None:
    from dermray.serving.keys import make

    print(
        make(
            arguments.name, arguments.scopes.split(","), arguments.days, arguments.requests_per_minute,
            arguments.images_per_day,
        )
    )  # fmt: skip


def _run_stage(arguments: argparse.Namespace) -> None:
    from dermray.pipeline import command

    cls, run = command(" ".join(filter(None, [arguments.command, getattr(arguments, "step", None)])))
    overrides = arguments.overrides
    if getattr(arguments, "retry_failed", None):
        overrides = [*overrides, f"retry_failed={json.dumps(arguments.retry_failed)}"]
    if getattr(arguments, "extend", None) is not None:
        overrides = [*overrides, f"extend={json.dumps(arguments.extend)}"]
    if getattr(arguments, "search", None) is not None:
        overrides = [*overrides, f"search.trials={arguments.search}"]
    settings = load(cls, config_path(arguments.config), overrides)
    if getattr(arguments, "preview", None):
        print(_preview(arguments.command, settings, arguments.preview))
        return
    if getattr(arguments, "dry_run", False):
        print(_bill(settings))
        return
    result = run(settings)
    print(f"{result.uri}: {result.manifest.rows.model_dump_json()}")
    if said := result.manifest.metrics.get("summary"):
        print(said)
    if page := result.manifest.metrics.get("page"):
        print(f"page: {result.data}/{page}")


def _bill(settings: Any) -> str:
    from dermray.training.run import TrainConfig

    if isinstance(settings, TrainConfig):
        from dermray.training.bill import dry_run

        return dry_run(settings)
    from dermray.vlm.tuning.bill import dry_run as bill_of_tuning

    return bill_of_tuning(settings)


def _preview(stage: str, settings: Any, count: int) -> str:
    from dermray.pipeline import COMMANDS

    shown = import_module(COMMANDS[stage].partition(":")[0]).preview(settings, count)
    return shown if isinstance(shown, str) else "\n\n---\n\n".join(shown)


def _doctor(arguments: argparse.Namespace) -> None:
    from dermray.doctor.run import examine
    from dermray.doctor.whole_run import RUN

    if arguments.overrides and not arguments.config:
        given = arguments.overrides[0]
        raise ConfigError(
            f"{given}: got no --config, and without one no config is checked; "
            + (f"expected one that {given} overrides" if "=" in given else f"write --config {given}")
        )
    path = config_path(arguments.config) if arguments.config else None
    stage = arguments.stage or (Path(arguments.config).parent.name if arguments.config else None)
    if path is not None and arguments.stage is None and "stages" in read_file(path):
        stage = RUN
    elif path is not None and stage not in DESCRIPTIONS:
        raise ConfigError(
            f"--config {path}: whose is it? It is no run's (no `stages`), so give --stage, one of "
            f"{', '.join(DESCRIPTIONS)}"
        )
    if not examine(arguments.output, stage, path, arguments.overrides):
        sys.exit(1)


def _reference(arguments: argparse.Namespace) -> str:
    from dermray.reference import configs, presets

    if arguments.command == "presets":
        return presets.listed(arguments.stage)
    return configs.described(arguments.stage, arguments.kind, arguments.schema)


def _export(arguments: argparse.Namespace) -> None:
    from dermray.publishing.command import export

    path = config_path(arguments.config) if arguments.config else None
    print(export(arguments.result, arguments.place, arguments.format, path, arguments.overrides))


def _export_images(arguments: argparse.Namespace) -> None:
    from dermray.provenance.export import export
    from dermray.provenance.settings import ExportConfig

    given = [f"images={json.dumps(arguments.result)}", f"output={json.dumps(arguments.directory)}"]
    path = config_path(arguments.config) if arguments.config else None
    print(export(load(ExportConfig, path, [*given, *arguments.overrides])))


def _provenance(arguments: argparse.Namespace) -> None:
    from dermray.provenance.reading import authorities, describe

    trusted, good = authorities(arguments.trust) if arguments.trust else None, True
    unread = list[str]()  # one of many files must not hide what the others say
    for file in arguments.files:
        try:
            lines, holds = describe(file, trusted)
        except (OSError, ValueError) as error:
            unread.append(str(error))
            continue
        good = good and holds
        print("\n".join(lines))
    faults = [] if good else ["a signature does not hold; see INVALID above"]
    if faults := faults + unread:
        raise ValueError("\n  ".join(faults))


def _import(arguments: argparse.Namespace) -> None:
    from dermray.generators.glide_import import import_glide

    files = {"base": arguments.base, "upsampler": arguments.upsampler}
    print(f"{import_glide(files, arguments.tokenizer, arguments.output)}: give it as model.base")


if __name__ == "__main__":
    main()
