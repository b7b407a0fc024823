"""What a real browser finds wrong with a page; the fixture `browser` is in conftest.py."""

from playwright.sync_api import Page


def watch(page: Page, *, home: str) -> list[str]:
    """Errors, and requests that leave `home`, as they come while the page is open."""
    faults: list[str] = []
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "request",
        lambda r: (
            None
            if r.url.startswith((home, "data:", "blob:"))
            else faults.append(f"request {r.url}")
        ),
    )
    return faults
