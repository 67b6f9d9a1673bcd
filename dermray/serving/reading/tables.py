"""Tables of readers, their sessions and their answers, in the database of jobs."""

from sqlalchemy import Column, Float, ForeignKeyConstraint, Index, Integer, String, Table, Text

from dermray.serving.jobs.tables import metadata

readers = Table(
    "dermray_readers",
    metadata,
    Column("study", String(64), primary_key=True),  # by its sealed key: another study under the same name is another
    Column("name", String(64), primary_key=True),
    Column("code", String(80), nullable=False, unique=True),  # hash
    Column("seed", String(32), nullable=False),  # of the order in which this reader sees the images
    Column("created", Float, nullable=False),  # Unix seconds of the database's clock, like all times here
    Column("finished", Float),
)
sessions = Table(
    "dermray_reader_sessions",
    metadata,
    Column("token", String(80), primary_key=True),  # hash
    Column("study", String(64), nullable=False),
    Column("reader", String(64), nullable=False),
    Column("began", Float, nullable=False),
    Column("seen", Float, nullable=False),
    Column("ended", String(32)),  # why; null: it goes on
    ForeignKeyConstraint(["study", "reader"], ["dermray_readers.study", "dermray_readers.name"], ondelete="CASCADE"),
    Index("dermray_reader_sessions_of", "study", "reader"),
)
# Nothing is changed or deleted here: a changed answer is another revision, and the last one counts.
answers = Table(
    "dermray_reader_answers",
    metadata,
    Column("study", String(64), primary_key=True),
    Column("reader", String(64), primary_key=True),
    Column("image", String(64), primary_key=True),  # name in the study, 001.png
    Column("revision", Integer, primary_key=True),  # 1, 2, ...: of two writers of one revision the database takes one
    Column("sent_as", String(64), nullable=False),  # the page's name of this sending: sent again, it is the same
    Column("place", Integer, nullable=False),  # in this reader's order, from 1
    Column("said", Text, nullable=False),  # JSON: cells of the form by column
    Column("seconds", Float),  # that the page showed the image before this was sent
    Column("answered", Float, nullable=False),
    ForeignKeyConstraint(["study", "reader"], ["dermray_readers.study", "dermray_readers.name"], ondelete="CASCADE"),
)
