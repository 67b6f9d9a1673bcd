"""`dermray plan`: its arguments, and what it prints."""

import argparse
from typing import Any

from dermray.commands.arguments import config_path, positive, price, with_overrides


def with_plan(commands: Any) -> None:
    """The command and its arguments."""
    plan = commands.add_parser(
        "plan", help="print what a run or a stage will take: rows, tokens, steps, GPU-hours, price; start nothing"
    )
    plan.add_argument("config", help="YAML file or preset of a run or of a stage, for example train/flux_lora_paper")
    with_overrides(plan)
    plan.add_argument("--stage", help="the stage that the config is for, if it is neither a run nor a preset")
    plan.add_argument("--gpu", default="H100", help="card that hours are of: H100, H200, A100, L40S, L4, 'RTX 3090'")
    plan.add_argument(
        "--price-per-gpu-hour", type=price, metavar="X", help="in any currency; adds what each stage costs"
    )
    plan.add_argument(
        "--rows", type=positive, metavar="N", help="assume so many rows of inputs that are neither there nor planned"
    )
    plan.add_argument("--json", action="store_true", help="for programs")


def planned(arguments: argparse.Namespace) -> str:
    """What is printed."""
    from dermray.planning import command

    return command.run(
        arguments.config, config_path(arguments.config), arguments.overrides, arguments.stage, arguments.gpu,
        arguments.price_per_gpu_hour, arguments.rows, arguments.json,
    )  # fmt: skip
