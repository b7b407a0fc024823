"""A page to try a model and to rate clips in a browser, served by `hlclip demo`.

    server          where the page is served, what it scores, which files it keeps, how it ends
    page            the page: a video and queries, and what is found (Gradio)
    answer          the chart and the moments of a query, as HTML
    annotate_tab    the tab in which visitors rate clips (Gradio)
    ratings         the ratings that visitors give, and the files that hold them

It needs the extra `demo`. The face loads no Gradio: `serving` sets Gradio's environment variables
before it imports `page`.
"""

from hlclip.demo.ratings import annotating
from hlclip.demo.server import free_port, is_loopback, serving
