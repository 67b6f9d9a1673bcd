"""The table that a sweep shows while its trials run: mean AUC by arm, a column for each backbone and real count."""

from collections import defaultdict

from dermray.classification import trial_files
from dermray.classification.grid import Trial
from dermray.progress import Progress, Reading

PARTS = 5  # a table whenever so many parts more of all trials are done
NONE = "-"


class LiveTable:
    """Reads what finished trials wrote, each once."""

    def __init__(self, place: str, trials: list[Trial]) -> None:
        """Args: place: directory of finished trials."""
        self.place, self.trials = place, {trial.key: trial for trial in trials}
        self.aucs: dict[str, float | None] = {}  # by key
        self.shown = 0

    def read(self) -> Reading:
        """How far the sweep is. Prints the table now and then."""
        self._update()
        done = len(self.aucs)
        if done - self.shown >= max(2, len(self.trials) / PARTS) and done < len(self.trials):
            self.show()
        return Progress(done, len(self.trials), "trials done") if done else ""

    def show(self) -> None:
        """Print it."""
        self._update()
        self.shown = len(self.aucs)
        for line in self.lines():
            print(f"      {line}", flush=True)

    def lines(self) -> list[str]:
        """Of the table; behind each mean the number of its trials."""
        cells: dict[tuple[str, str], list[float]] = defaultdict(list)
        columns = dict.fromkeys(_column(trial) for trial in self.trials.values())
        arms = dict.fromkeys(trial.arm.name for trial in self.trials.values())
        for key, auc in self.aucs.items():
            if auc is not None:
                cells[self.trials[key].arm.name, _column(self.trials[key])].append(auc)
        rows = [["mean AUC (trials)", *columns]]
        rows += [[arm, *(_cell(cells[arm, column]) for column in columns)] for arm in arms]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]

    def _update(self) -> None:
        new = sorted(trial_files.finished(self.place) & self.trials.keys() - self.aucs.keys())
        for result in trial_files.results(self.place, new):
            self.aucs[result["key"]] = result["auc"]


def _column(trial: Trial) -> str:
    return f"{trial.backbone.name}, {trial.real_images} real"


def _cell(aucs: list[float]) -> str:
    return f"{sum(aucs) / len(aucs):.3f} ({len(aucs)})" if aucs else NONE
