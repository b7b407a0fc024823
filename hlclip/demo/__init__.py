"""A page that tries a model in a browser, served by `hlclip demo`; needs the extra `demo`.

server    where the page is served, what it keeps, how it ends
page      the page itself (Gradio)
upload    what a visitor sends, checked against the limits
"""

from hlclip.demo.server import free_port, is_loopback, serving
