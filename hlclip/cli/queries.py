"""Queries as a user gives them: arguments, lines of standard input, or a file with names."""

import codecs
import csv
import io
import locale
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from typer import echo

from hlclip.system import HlclipError


def given_queries(arguments: list[str], file: Path | None) -> tuple[list[str], dict[str, str]]:
    """The queries of arguments and of a file, each once, and query -> name of those of the file."""
    queries = [query_text(os.fsencode(query)) for query in arguments]
    names = read_queries(file) if file else {}
    return list(dict.fromkeys([*queries, *names])), names


def typed_queries(failed: dict[str, str]) -> Iterator[list[str]]:
    """Read queries from standard input, until its end or, at a terminal, an empty line."""
    yield []  # the videos are encoded before a person is asked for the first query
    if sys.stdin is None:  # the shell has closed it
        return
    terminal = sys.stdin.isatty()
    if terminal:
        echo("A query a line; an empty one ends.", err=True)
    # Bytes: text that cannot be decoded would end the lines after it, too.
    for number, line in enumerate(sys.stdin.buffer, start=1):
        content = line.removeprefix(codecs.BOM_UTF8).strip()
        if content:
            try:
                query = query_text(content)
            except HlclipError as error:
                name = f"standard input, line {number}"
                failed[name] = str(error)
                echo(f"{name}: {error}", err=True)
            else:
                yield [query]
        elif terminal:
            return


def query_text(content: bytes) -> str:
    """A query in UTF-8 or the encoding of the locale; HlclipError if it is blank or neither."""
    from hlclip.highlights import check_query

    try:
        query = content.decode()
    except UnicodeDecodeError:
        query = content.decode(locale.getencoding(), errors="surrogateescape")
    check_query(query)
    return query


def read_queries(path: Path) -> dict[str, str]:
    """Query -> its name, from CSV in UTF-8 with the columns `query` and, optionally, `name`.

    Raises:
        HlclipError: the first line does not name these columns, a query or name is blank or not
            unique, or there is no query; the message has the line.
    """
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
        if "\0" in text:
            raise ValueError("it has a NUL, as UTF-16 has")
    except ValueError as error:
        raise HlclipError(f"{path}: is not text in UTF-8 ({error})", "save it in UTF-8") from error
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    names: dict[str, str] = {}
    try:
        header = [cell.strip() for cell in next(rows, [])]
        if header not in (["query"], ["name", "query"], ["query", "name"]):
            got = ",".join(header)
            raise HlclipError(
                f"{path}: first line {got!r}, expected the columns: query, or name,query",
                "write them into the first line, and a query in each line after it",
            )
        for row in rows:
            where = f"{path}, line {rows.line_num}"
            if not any(map(str.strip, row)):  # spreadsheets write blank lines as commas
                continue
            if len(row) != len(header):
                raise HlclipError(
                    f"{where}: {len(row)} cells, expected {len(header)}: {','.join(header)}",
                    'put text that has a comma between quotes: "a dog, running"',
                )
            cells = dict(zip(header, map(str.strip, row), strict=True))
            query, name = cells["query"], cells.get("name", cells["query"])
            if not query or not name or query in names or name in names.values():
                raise HlclipError(f"{where}: query and name must not be blank nor occur twice")
            names[query] = name
    except csv.Error as error:
        raise HlclipError(f"{path}, line {rows.line_num}: {error}, expected CSV") from error
    if not names:
        raise HlclipError(f"{path}: has no query after its first line")
    return names
