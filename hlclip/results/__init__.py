"""Finished runs: tables over experiments, and the HTML report.

    experiments     finished runs as DVC's experiments record them
    selection       experiments chosen and compared by their parameters
    table           the paper's tables: mean and standard deviation over seeds
    domains         other data sets: columns, means over domains, reference rows
    table_text      these tables as text, Markdown, CSV and JSON
    run             a finished run, its files read and checked to belong together
    run_files       a file of a run, refused where it is not as hlclip writes it
    page            the report as one HTML page (Altair)
    page_tables     tables of the report
    page_charts     charts of the report
    page_queries    all queries of a run in compact form
    thumbnails      small pictures of the peaks of queries

`page` is imported by name, because it takes seconds to load.
"""

from hlclip.results.experiments import (
    WORKSPACE,
    ExperimentsError,
    finished_experiments,
)
from hlclip.results.page_tables import seed_tables
from hlclip.results.run import read_run
from hlclip.results.selection import matching
from hlclip.results.table import comparable, lines
from hlclip.results.table_text import as_json, render
