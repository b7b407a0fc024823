"""All errors stand in one tree, and each says what is wrong and what to do."""

import importlib
import pkgutil

import pytest

import hlclip
from hlclip.system import errors
from hlclip.system.errors import INTERRUPTED, HlclipError, print_error


def tree(error: type[HlclipError], depth: int = 0) -> set[tuple[int, str, str]]:
    """Depth, name and name of the parent of an error and of all below it."""
    entries = {(depth, error.__name__, error.__mro__[1].__name__)}
    for below in error.__subclasses__():
        if below.__module__.startswith("hlclip."):  # tests may have errors of their own
            entries |= tree(below, depth + 1)
    return entries


def documented() -> set[tuple[int, str, str]]:
    """The tree in the docstring of `hlclip.system.errors`."""
    entries: set[tuple[int, str, str]] = set()
    parents = ["ValueError"]
    for line in (errors.__doc__ or "").splitlines():
        name = (line.split() or [""])[0]
        if line.startswith("    ") and name.endswith("Error"):
            depth = (len(line) - len(line.lstrip()) - 4) // 2
            parents = [*parents[: depth + 1], name]
            entries.add((depth, name, parents[depth]))
    return entries


def test_the_documented_tree_is_the_real_one() -> None:
    for module in pkgutil.walk_packages(hlclip.__path__, "hlclip."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert documented() == tree(HlclipError)


def test_the_face_words_settings() -> None:
    error = HlclipError("no such model", "name another", settings={"encoder.model": "ViT-B-32"})
    assert str(error) == "no such model\nname another: -S encoder.model=ViT-B-32"
    options = {"encoder.model": "--model"}
    assert error.message(options) == "no such model\nname another: --model ViT-B-32"
    assert error.remedy({"other.key": "--other"}) == "name another: -S encoder.model=ViT-B-32"


@pytest.mark.parametrize(
    ("remedy", "settings", "message"),
    [
        ("", {}, "reason"),
        ("do this", {}, "reason\ndo this"),
        ("", {"a.b": 1}, "reason\n-S a.b=1"),
        ("do this", {"a.b": 1, "c": "d"}, "reason\ndo this: -S a.b=1 -S c=d"),
    ],
)
def test_reason_and_remedy(remedy: str, settings: dict[str, object], message: str) -> None:
    assert HlclipError("reason", remedy, settings=settings).message() == message


def test_what_a_person_can_put_right_has_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_error(HlclipError("reason", "do this"), status=3) == 3
    assert capsys.readouterr().err == "reason\ndo this\n"
    assert print_error(FileNotFoundError(2, "-", "some/file"), status=3) == 3
    assert capsys.readouterr().err.startswith("some/file: No such file or directory\nname a file")


def test_text_that_is_not_utf8_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UnicodeEncodeError) as caught:
        ("x" * 100 + "caf\udce9").encode()
    assert print_error(caught.value, status=3) == 3
    expected = f"got '{'x' * 37}caf\\udce9', expected text in UTF-8\n"
    assert capsys.readouterr().err == expected + "write or rename it in UTF-8\n"
    with pytest.raises(UnicodeEncodeError) as caught:
        "é".encode("ascii")
    assert print_error(caught.value, status=3) == 1


def test_a_traceback_where_it_helps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert print_error(ZeroDivisionError(), status=3) == 1
    assert "ZeroDivisionError\nthis is a bug of hlclip" in capsys.readouterr().err
    assert print_error(HlclipError("reason"), status=3, debug=True) == 3
    assert "HlclipError: " in capsys.readouterr().err
    monkeypatch.setenv("HLCLIP_DEBUG", "1")
    assert print_error(HlclipError("reason"), status=3) == 3
    assert "HlclipError: " in capsys.readouterr().err


def test_an_interruption_wins_over_an_error_that_it_causes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = OSError(9, "closed twice")
    error.__context__ = KeyboardInterrupt()
    assert print_error(error, status=1) == INTERRUPTED
    assert capsys.readouterr().err.startswith("interrupted; ")
    error.__context__ = SystemExit(143)
    assert print_error(error, status=1) == 143
