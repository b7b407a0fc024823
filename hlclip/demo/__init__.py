"""A page that tries a model in a browser, served by `hlclip demo`; needs the extra `demo`."""
