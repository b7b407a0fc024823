"""Finished runs: tables over experiments, and the HTML report.

    experiments     what DVC knows of finished experiments
    table           the paper's tables: mean and deviation over seeds
    run             the files that a finished run left
    page            the report as one HTML page (Altair)
    page_tables     tables of the report
    page_charts     charts of the report
    page_queries    every query of a run in compact form
    thumbnails      small pictures of the clips that matter

`page`: imported by name; it takes seconds to load.
"""

from hlclip.results.experiments import ExperimentsError, finished_experiments, matching
from hlclip.results.page_tables import seed_tables
from hlclip.results.run import read_run
from hlclip.results.table import as_json, comparable, lines, render
