"""Queries as a user types them: arguments, or lines of standard input."""

import codecs
import locale
import sys
from collections.abc import Iterator

from typer import echo

from hlclip.system import HlclipError


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
