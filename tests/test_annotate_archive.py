"""A zip from somebody else unpacks into a new folder, or not at all."""

import io
import stat
import zipfile

import pytest
from xai_bench_annotations.formats import archive
from xai_bench_annotations.formats.archive import pack, unpacked

from xai_bench.errors import BadInput


def zipped(*entries, compression=zipfile.ZIP_DEFLATED):
    """A zip of (name or ZipInfo, content)."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as made:
        for name, data in entries:
            made.writestr(name, data)
    return stream.getvalue()


def test_what_is_packed_is_unpacked_and_nothing_stays_behind():
    files = {"a.json": b"{}", "anna/apex/0001.png": b"\x89PNG"}
    data = pack(files.items())
    assert data == pack(files.items())
    with unpacked(data) as folder:
        assert {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == files
    assert not folder.exists()


def test_a_folder_is_taken_as_it_is_and_one_json_file_alone(tmp_path):
    with unpacked(tmp_path) as folder:
        assert folder == tmp_path
    (tmp_path / "a.json").write_bytes(b" {}")
    with unpacked(tmp_path / "a.json") as folder:
        assert [p.read_bytes() for p in folder.iterdir()] == [b" {}"]
    with pytest.raises(BadInput, match="No such file"), unpacked(tmp_path / "b.json"):
        pass


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../a", "a/../../b", "a\\..\\b", "C:\\a", "C:a", "a\nb", "//a/b", "a/" * 300 + "b"],
)
def test_paths_that_lead_out_are_refused(tmp_path, name):
    with pytest.raises(BadInput, match="leads out"), unpacked(zipped((name, b"x"))):
        pass


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_devices_are_refused(kind):
    entry = zipfile.ZipInfo("a")
    entry.external_attr = (kind | 0o644) << 16
    with pytest.raises(BadInput, match="link or a device"), unpacked(zipped((entry, b"/etc/passwd"))):
        pass


def test_a_folders_entry_is_no_file():
    with unpacked(zipped(("a/", b""), ("a/b", b"x"))) as folder:
        assert (folder / "a" / "b").read_bytes() == b"x"


def test_two_files_of_one_name_are_refused():
    with pytest.warns(UserWarning, match="Duplicate"):
        data = zipped(("a", b"1"), ("a", b"2"))
    for twice in (data, zipped(("a", b"1"), ("A", b"2"))):
        with pytest.raises(BadInput, match="one name"), unpacked(twice):
            pass


def test_a_file_where_a_folder_is_needed_is_refused():
    with pytest.raises(BadInput, match="can be read"), unpacked(zipped(("a", b"1"), ("a/b", b"2"))):
        pass


def test_too_many_files_and_too_many_bytes_are_refused(monkeypatch):
    monkeypatch.setattr(archive, "MAX_FILES", 2)
    with pytest.raises(BadInput, match="3 files"), unpacked(zipped(*((str(i), b"") for i in range(3)))):
        pass
    monkeypatch.setattr(archive, "MAX_BYTES", 5)
    with pytest.raises(BadInput, match="more than 0 MB"), unpacked(zipped(("a", b"123"), ("b", b"456"))):
        pass


def test_a_bomb_is_refused_while_it_is_read():
    with pytest.raises(BadInput, match="bomb"), unpacked(zipped(("a", b"\0" * 3_000_000))):
        pass


def test_what_is_read_counts_and_not_what_the_directory_says():
    data = bytearray(zipped(("a", b"\0" * 3_000_000)))
    for signature, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        place = data.index(signature) + offset
        data[place : place + 4] = (10).to_bytes(4, "little")
    with pytest.raises(BadInput), unpacked(bytes(data)):
        pass


def test_damaged_and_encrypted_zips_are_refused():
    data = bytearray(zipped(("a", b"hello hello"), compression=zipfile.ZIP_STORED))
    encrypted = data.copy()
    encrypted[data.index(b"PK\x01\x02") + 8] |= 1
    changed = bytes(data).replace(b"hello hello", b"hello jello")
    odds = {bytes(encrypted): "encrypted", changed: "BadZipFile", b"PK\x03\x04": "no zip", b"": "no zip"}
    for odd, reason in odds.items():
        with pytest.raises(BadInput, match=reason), unpacked(odd):
            pass
