"""A page to try a model in a browser, served by `hlclip demo`; needs the extra `demo`.

    server    where the page is served, what it scores, which files it keeps, how it ends
    page      the page itself (Gradio)

The face loads no Gradio: `serving` sets Gradio's environment variables before it imports `page`.
"""

from hlclip.demo.server import free_port, is_loopback, serving
