"""The report: one HTML page about a finished run, which needs neither network nor server."""
