"""Digests name requests: one spelling per value, and every part of a request counts."""

import hashlib
import json
import os
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from facemae.errors import StageError
from facemae.spec import manifest as module
from facemae.spec.manifest import (
    FILE,
    NEWER,
    Grown,
    Manifest,
    canonical,
    digest_of,
    hash_file,
    hash_path,
    read_manifest,
    write_json,
    write_manifest,
)

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def made(**changes: Any) -> Manifest:
    content: dict[str, Any] = {
        "stage": "mask",
        "kind": "masked",
        "digest": "ab" * 32,
        "spec": {"ratio": 0.75},
        "parents": {},
        "facts": {"records": 3, "name": "Zoë"},
        "facemae": "0.1.0",
    }
    return Manifest(**content | changes)


def turned(value: Any) -> Any:
    """The same value with every dictionary filled in the opposite order."""
    if isinstance(value, dict):
        return {key: turned(item) for key, item in reversed(value.items())}
    return [turned(item) for item in value] if isinstance(value, list) else value


def test_canonical_is_sorted_json_without_spaces() -> None:
    assert canonical({"b": (1, 0.75), "a": {"é": None, "c": True}}) == b'{"a":{"c":true,"\\u00e9":null},"b":[1,0.75]}'


class _Inner(Grown):
    depth: Annotated[int, NEWER] = 3


class _Outer(Grown):
    ratio: float = 0.75
    late: Annotated[_Inner, NEWER] = _Inner()
    early: _Inner = _Inner()


def test_a_newer_field_is_written_only_where_it_is_not_its_default() -> None:
    assert _Outer().model_dump() == {"ratio": 0.75, "early": {}}
    assert _Outer(late=_Inner(depth=3)).model_dump() == {"ratio": 0.75, "early": {}}
    assert _Outer(late=_Inner(depth=4)).model_dump(mode="json")["late"] == {"depth": 4}
    assert _Outer(early=_Inner(depth=5)).model_dump_json() == '{"ratio":0.75,"early":{"depth":5}}'
    assert _Outer(late=_Inner(depth=4)).model_dump(exclude={"late"}) == {"ratio": 0.75, "early": {}}
    for made in (_Outer(), _Outer(late=_Inner(depth=4))):
        assert _Outer.model_validate(made.model_dump()) == made
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical(_Outer(ratio=float("nan")).model_dump(mode="json"))


@given(PLAIN)
def test_canonical_ignores_key_order_and_reads_back(value: Any) -> None:
    assert canonical(turned(value)) == canonical(value)
    assert json.loads(canonical(value)) == value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_canonical_refuses_what_is_no_number(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical({"loss": [value]})


def test_digest_is_the_hash_of_the_canonical_request() -> None:
    text = b'["mask",1,{"cell":8,"ratio":0.75},{"faces":"f0"}]'
    assert digest_of("mask", {"ratio": 0.75, "cell": 8}, {"faces": "f0"}) == hashlib.sha256(text).hexdigest()


def test_digest_changes_with_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    spec: dict[str, Any] = {"ratio": 0.75, "loss": {"pixel": 1.0, "instance": 0.0}, "far": (0.1, 0.01)}
    parents = {"faces": "f0", "model": "m0"}
    digests = [
        digest_of("mask", spec, parents),
        digest_of("masks", spec, parents),
        digest_of("mask", spec | {"ratio": 0.7}, parents),
        digest_of("mask", spec | {"loss": {"pixel": 1.0, "instance": 0.1}}, parents),
        digest_of("mask", spec | {"far": (0.01, 0.1)}, parents),
        digest_of("mask", spec | {"sigma": None}, parents),
        digest_of("mask", {key: value for key, value in spec.items() if key != "far"}, parents),
        digest_of("mask", spec, parents | {"faces": "f1"}),
        digest_of("mask", spec, {"faces": "m0", "model": "f0"}),
        digest_of("mask", spec, {"faces": "f0"}),
    ]
    monkeypatch.setattr(module, "CONTRACT", module.CONTRACT + 1)
    digests.append(digest_of("mask", spec, parents))
    assert len(set(digests)) == len(digests)


def test_hash_of_a_folder_sees_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x").write_bytes(b"1")
    assert hash_path(tmp_path / "a/x") == hash_file(tmp_path / "a/x") == hashlib.sha256(b"1").hexdigest()
    first = hash_path(tmp_path)
    assert hash_path(tmp_path) == first
    (tmp_path / "a/x").write_bytes(b"2")
    second = hash_path(tmp_path)
    (tmp_path / "a/x").rename(tmp_path / "a/y")
    third = hash_path(tmp_path)
    assert len({first, second, third}) == 3


def test_a_file_that_may_not_be_read_counts_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def guarded(path: str, mode: str = "r", **more: Any) -> Any:
        if os.path.basename(path) == "secret":
            raise PermissionError(13, "Permission denied", str(path))
        return open(path, mode, **more)

    for name in ("a", "secret"):
        (tmp_path / name).write_bytes(b"1")
    monkeypatch.setattr(module, "open", guarded, raising=False)
    lines = [["a", hashlib.sha256(b"1").hexdigest()], ["secret", "unreadable"]]
    assert hash_path(tmp_path) == hashlib.sha256(canonical(lines)).hexdigest()
    with pytest.raises(PermissionError):
        hash_path(tmp_path / "secret")


def test_hashing_tells_how_far_it_is(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(3 << 20))
    (tmp_path / "b").write_bytes(bytes(5))
    seen: list[int] = []
    assert hash_path(tmp_path, seen=seen.append) == hash_path(tmp_path)
    assert sorted(seen) == [5, *[1 << 20] * 3]


def test_names_that_are_no_utf8_survive_the_disk(tmp_path: Path) -> None:
    """As Linux hands them out: bytes above 127 as lone surrogates."""
    name = b"Jos\xe9/Thumbs.db".decode("utf-8", "surrogateescape")
    write_json(tmp_path / "a.json", {"skipped": [name], "é": 1})
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"skipped": [name], "é": 1}


def test_manifest_survives_the_disk(tmp_path: Path) -> None:
    write_manifest(tmp_path, made())
    assert read_manifest(tmp_path) == made()
    assert json.loads((tmp_path / FILE).read_text("utf-8"))["schema"] == 1
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_manifest_is_frozen_and_strict() -> None:
    with pytest.raises(ValidationError):
        made().stage = "other"  # type: ignore[misc]
    for wrong in ({"kind": "photo"}, {"contract": "1"}, {"more": 1}, {"digest": 5}):
        with pytest.raises(ValidationError):
            made(**wrong)


def test_no_manifest_is_an_unfinished_directory(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"not a finished facemae directory: got no manifest\.json"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"schema": 1, "stage": 3}', b"\xff"])
def test_a_foreign_manifest_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(StageError, match="is not a manifest") as caught:
        read_manifest(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1}


def test_the_hash_of_a_folder_is_that_of_its_sorted_list(tmp_path: Path) -> None:
    """Whole paths are sorted by code point: "a-b" stands before "a/…", and a name that is no UTF-8 has its place."""
    for name in (b"a/1", b"a-b/1", b"a", "\uf000".encode(), b"\xff", "\U0001f600".encode(), "\xe9".encode()):
        place = os.fsencode(tmp_path) + b"/d/" + name + (b"/x" if name == b"a" else b"")
        os.makedirs(os.path.dirname(place), exist_ok=True)
        Path(os.fsdecode(place)).write_bytes(name)
    (tmp_path / "d/link").symlink_to(tmp_path / "d/a/1")
    (tmp_path / "d/gone").symlink_to("nowhere")
    (tmp_path / "d/loop").symlink_to(tmp_path / "d")
    folder = tmp_path / "d"
    files = [file for file in folder.rglob("*") if file.is_file() and "loop" not in file.parts]
    lines = sorted((str(file.relative_to(folder)), hash_file(file)) for file in files)
    assert len(lines) == 8
    assert hash_path(folder) == hashlib.sha256(canonical(lines)).hexdigest()
