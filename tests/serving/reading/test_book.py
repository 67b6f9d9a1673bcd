"""Readers, sessions and answers in SQLite and PostgreSQL."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from dermray.serving.jobs.ledger import Ledger
from dermray.serving.reading import register as registers
from dermray.serving.reading.book import Book, Finished, Miscounted, Sent, Stale
from dermray.serving.reading.codes import hash_of
from dermray.serving.reading.register import Elsewhere, Ended, HasCode, Reader, Register
from dermray.serving.reading.tables import readers, sessions

STUDY = "study-0123456789abcdef"


@pytest.fixture
def book(url: str) -> Iterator[Book]:
    ledger = Ledger(url)
    yield Book(Register(ledger.engine))
    ledger.engine.dispose()


def reader(book: Book, name: str = "jane") -> Reader:
    code = book.register.add(STUDY, [name])[name]
    found = book.register.find(STUDY, code)
    assert found and found.name == name
    return found


def sent(image: str = "001.png", replaces: int = 0, sent_as: str = "a" * 8, word: str = "mel") -> Sent:
    return Sent(image, 1, replaces, sent_as, {"entity": word}, 2.5)


def words(book: Book, who: Reader) -> dict[str, str]:
    return {image: answer.said["entity"] for image, answer in book.of(who).items()}


def test_a_code_is_kept_as_a_hash_and_read_as_people_type_it(book: Book) -> None:
    code = book.register.add(STUDY, ["jane"])["jane"]
    with book.register.engine.connect() as connection:
        row = connection.execute(readers.select()).one()
    assert row.code == hash_of(code) and code not in str(row) and code.replace("-", "") not in str(row)
    typed = code.upper().replace("-", " ").replace("0", "O").replace("1", "l")
    for given in (code, typed, f"  {code}\n"):
        assert (found := book.register.find(STUDY, given)) and found.name == "jane"
    for given in ("", code[:-1], code + "a", "\ud800", "x" * 200):
        assert book.register.find(STUDY, given) is None
    assert book.register.find("study-of-another-key", code) is None


def test_codes_differ_and_who_has_one_keeps_it(book: Book) -> None:
    codes = book.register.add(STUDY, ["jane", "joe"])
    assert len(set(codes.values())) == 2 and all(len(code.replace("-", "")) == 20 for code in codes.values())
    for again in (["ann", "jane"], ["JOE"]):
        with pytest.raises(HasCode):
            book.register.add(STUDY, again)
    assert [one.name for one in book.register.all(STUDY)] == ["jane", "joe"], "nobody of those got one"
    assert book.register.add("study-2", ["jane"]), "another study's are others"


def test_a_new_code_ends_the_old_one_and_its_session_and_keeps_order_and_answers(book: Book) -> None:
    jane = reader(book)
    token = book.register.begin(jane, False)
    book.write(STUDY, token, sent())
    old = jane
    code = book.register.add(STUDY, ["jane"], renew=True)["jane"]
    with pytest.raises(Ended, match="new code"):
        book.write(STUDY, token, sent(replaces=1, sent_as="b" * 8))
    renewed = book.register.find(STUDY, code)
    assert renewed == old and words(book, old) == {"001.png": "mel"}


def test_one_session_at_a_time_and_the_other_is_told(book: Book) -> None:
    jane, joe = reader(book), reader(book, "joe")
    first = book.register.begin(jane, False)
    assert book.register.begin(joe, False), "another reader's is another"
    with pytest.raises(Elsewhere) as raised:
        book.register.begin(jane, False)
    assert 0 <= raised.value.seconds < 60
    assert book.write(STUDY, first, sent()) == 1, "a question changes nothing"
    second = book.register.begin(jane, True)
    for late in (lambda: book.write(STUDY, first, sent("002.png")), lambda: book.register.reading(STUDY, first)):
        with pytest.raises(Ended, match="taken over"):
            late()
    assert book.write(STUDY, second, sent("002.png")) == 1 and words(book, jane).keys() == {"001.png", "002.png"}
    book.register.leave(STUDY, second)
    with pytest.raises(Ended, match="logged out"):
        book.write(STUDY, second, sent("003.png"))
    assert book.register.begin(jane, False), "who left asks nobody"


def test_a_session_is_of_its_study_and_ends_when_nobody_is_there(book: Book) -> None:
    jane = reader(book)
    token = book.register.begin(jane, False)
    for study, given in (("study-2", token), (STUDY, "none"), (STUDY, "")):
        with pytest.raises(Ended, match="no such session"):
            book.write(study, given, sent())
        with pytest.raises(Ended):
            book.register.reading(study, given)
    with book.register.engine.begin() as connection:
        connection.execute(update(sessions).values(seen=sessions.c.seen - registers.IDLE - 1))
    with pytest.raises(Ended, match="idle"):
        book.write(STUDY, token, sent())
    assert words(book, jane) == {} and book.register.begin(jane, False)


def test_sent_again_it_is_one_answer_and_a_stale_one_replaces_nothing(book: Book) -> None:
    jane = reader(book)
    token = book.register.begin(jane, False)
    assert [book.write(STUDY, token, sent()) for _ in range(3)] == [1, 1, 1]
    assert book.write(STUDY, token, sent(replaces=1, sent_as="b" * 8, word="nv")) == 2
    for late in (sent(sent_as="a" * 8), sent(sent_as="c" * 8, word="bcc"), sent(replaces=5, sent_as="d" * 8)):
        with pytest.raises(Stale) as raised:
            book.write(STUDY, token, late)
        assert raised.value.newest == 2
    assert words(book, jane) == {"001.png": "nv"}
    assert [(one.revision, one.said["entity"]) for one in book.history(jane)] == [(1, "mel"), (2, "nv")]


def test_of_many_who_write_at_once_one_replaces_each_revision(book: Book) -> None:
    jane = reader(book)
    token = book.register.begin(jane, False)

    def write(number: int) -> int | None:
        try:
            return book.write(STUDY, token, sent(sent_as=f"sending-{number}", word=str(number)))
        except Stale:
            return None

    with ThreadPoolExecutor(6) as pool:
        taken = [revision for revision in pool.map(write, range(12)) if revision]
    assert taken == [1] and len(book.history(jane)) == 1


def test_nothing_is_answered_after_the_end(book: Book) -> None:
    jane = reader(book)
    token = book.register.begin(jane, False)
    book.write(STUDY, token, sent())
    with pytest.raises(Miscounted) as raised:
        book.finish(STUDY, token, 2, ["entity"])
    assert raised.value.answered == 1
    with pytest.raises(Miscounted):
        book.finish(STUDY, token, 1, ["entity", "origin"])
    for _ in range(2):
        book.finish(STUDY, token, 1, ["entity"])
    assert book.write(STUDY, token, sent()) == 1, "sent again it is the same"
    for late in (sent("002.png"), sent(replaces=1, sent_as="b" * 8)):
        with pytest.raises(Finished):
            book.write(STUDY, token, late)
    assert [one.finished is not None for one in book.register.all(STUDY)] == [True]


def test_all_is_there_after_a_restart(url: str) -> None:
    for number in (1, 2, 3):
        ledger = Ledger(url)
        book = Book(Register(ledger.engine))
        if number == 1:
            jane = reader(book)
            token = book.register.begin(jane, False)
        book.write(STUDY, token, sent(f"00{number}.png"))
        assert len(book.of(jane)) == number
        ledger.engine.dispose()
