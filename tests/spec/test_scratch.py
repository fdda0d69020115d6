"""Tables on disk: names keep order and bytes, reading and writing mix, and a full disk is named."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facemae.errors import DiskFull
from facemae.spec.scratch import Scratch, packed, unpacked

NAMES = st.lists(st.text(st.characters(exclude_categories=()), max_size=5))
"""Lone surrogates included: what file names that are no UTF-8 come in as."""


@given(NAMES)
def test_packed_names_sort_as_the_names_do_and_come_back(names: list[str]) -> None:
    assert sorted(names, key=packed) == sorted(names)
    assert [unpacked(packed(name)) for name in names] == names


def test_packed_order_where_utf8_with_escapes_would_differ() -> None:
    names = ["\uf000", "\U0001f600", "\udc80", "\u00e9"]
    assert sorted(names, key=packed) == ["\u00e9", "\udc80", "\uf000", "\U0001f600"] == sorted(names)


def test_rows_go_from_one_table_to_another_while_they_are_read() -> None:
    table = Scratch("CREATE TABLE one (x)", "CREATE TABLE two (x)")
    table.fill("INSERT INTO one VALUES (?)", ((i,) for i in range(5000)))
    table.fill("INSERT INTO two VALUES (?)", ((x * x,) for (x,) in table.rows("SELECT x FROM one")))
    assert next(table.rows("SELECT count(*), max(x) FROM two")) == (5000, 4999**2)
    assert table.change("DELETE FROM two WHERE x < ?", 100) == 10
    table.close()


def test_an_error_in_what_is_filled_in_comes_out_as_it_was() -> None:
    def rows() -> object:
        yield (1,)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        Scratch("CREATE TABLE one (x)").fill("INSERT INTO one VALUES (?)", rows())  # type: ignore[arg-type]


def test_rows_left_half_way_outlive_their_table_quietly() -> None:
    table = Scratch("CREATE TABLE one (x)")
    table.fill("INSERT INTO one VALUES (?)", ((i,) for i in range(9)))
    rows = table.rows("SELECT x FROM one")
    assert next(rows) == (0,)
    table.close()
    rows.close()  # type: ignore[attr-defined]  # raised what nobody could catch: it is called by the interpreter too


def test_a_full_disk_is_named() -> None:
    table = Scratch("CREATE TABLE one (x)", "PRAGMA max_page_count = 8")
    with pytest.raises(DiskFull, match=r"no room for temporary tables: got database or disk is full; set TMPDIR"):
        table.fill("INSERT INTO one VALUES (?)", ((bytes(1000),) for _ in range(1000)))
