"""The answer form: a line an image, as CSV and as an Excel workbook with drop-downs."""

import csv
import datetime
import io
from collections.abc import Sequence
from typing import Any

from dermray.reader_study.questions import Question

STUDY, IMAGE = "study", "image"
SURE = "confidence"
MOST = 100  # of a confidence: 0 is a guess, 100 is certain
WIDTHS = {STUDY: 26, IMAGE: 10}  # characters
EXTRA = "pip install 'dermray[reader-study]'"


def sure_column(column: str) -> str:
    """Where a reader may say how sure the answer is."""
    return f"{column}_{SURE}"


def columns(asked: Sequence[Question]) -> list[str]:
    """Of the form, in order."""
    return [STUDY, IMAGE, *(name for question in asked for name in (question.column, sure_column(question.column)))]


def as_csv(study: str, images: Sequence[str], asked: Sequence[Question]) -> bytes:
    """The empty form. UTF-8 with a byte order mark, which Excel needs to know it by."""
    text = io.StringIO(newline="")
    lines = csv.writer(text)
    header = columns(asked)
    lines.writerow(header)
    lines.writerows([study, image, *[""] * (len(header) - 2)] for image in images)
    return text.getvalue().encode("utf-8-sig")


def require_openpyxl() -> None:
    """Say early that a workbook cannot be read or written.

    Raises:
        ImportError: openpyxl is not there.
    """
    try:
        import openpyxl  # noqa: F401
    except ImportError:
        raise ImportError(f"Excel workbooks need openpyxl: {EXTRA}, or use CSV alone (excel=false)") from None


def as_workbook(study: str, images: Sequence[str], asked: Sequence[Question]) -> bytes:
    """The empty form, whose second sheet says what the words mean."""
    from openpyxl import Workbook
    from openpyxl.styles import Font
    from openpyxl.utils import get_column_letter

    book = Workbook()
    book.properties.creator = "dermray"
    book.properties.created = book.properties.modified = datetime.datetime(2000, 1, 1)
    sheet, words = book.active, book.create_sheet("words")
    sheet.title = "answers"
    header = columns(asked)
    sheet.append(header)
    for image in images:
        sheet.append([study, image])
    sheet.freeze_panes = "C2"
    for number, name in enumerate(header, start=1):
        letter = get_column_letter(number)
        sheet[f"{letter}1"].font = Font(bold=True)
        sheet.column_dimensions[letter].width = WIDTHS.get(name, 20)
        if name not in (STUDY, IMAGE):
            rule = _rule(name, asked, words)
            sheet.add_data_validation(rule)
            rule.add(f"{letter}2:{letter}{len(images) + 1}")
    words.column_dimensions["A"].width, words.column_dimensions["B"].width = 20, 80
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def _rule(column: str, asked: Sequence[Question], words: Any) -> Any:
    """What may stand in a column: a question's words by a drop-down, or a confidence."""
    from openpyxl.worksheet.datavalidation import DataValidation

    question = next((question for question in asked if question.column == column), None)
    if question is None:
        rule = DataValidation("whole", operator="between", formula1="0", formula2=str(MOST), allow_blank=True)
        rule.error = f"A whole number from 0 (a guess) to {MOST} (certain), or nothing."
    else:
        rule = DataValidation("list", formula1=_listed(words, question), allow_blank=True)
        rule.error = f"One of: {', '.join(question.classes)}"[:250]  # Excel takes 255 characters
    rule.showErrorMessage = True
    return rule


def _listed(words: Any, question: Question) -> str:
    """Write a question's words below those before, and name the cells that a drop-down takes them from."""
    from openpyxl.styles import Font

    words.append([question.column, "meaning"])
    title = words.max_row
    words[f"A{title}"].font = words[f"B{title}"].font = Font(bold=True)
    for name, meaning in zip(question.classes, question.meanings, strict=True):
        words.append([name, meaning])
    return f"words!$A${title + 1}:$A${title + len(question.classes)}"
