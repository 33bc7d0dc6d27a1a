"""A folder that is published completely or not at all."""

import json

import pytest

from training.exporting import formats, output_folder


def half_done(out):
    with output_folder.staging_folder(out) as folder:
        (folder / "model.keras").write_text("half")
        raise RuntimeError


def test_an_error_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError):
        half_done(tmp_path / "net")
    assert not list(tmp_path.iterdir())


def test_it_appears_when_all_is_there(tmp_path):
    with output_folder.staging_folder(tmp_path / "deep" / "net") as folder:
        (folder / "model.keras").write_text("whole")
        assert not (tmp_path / "deep" / "net").exists()
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["net"]
    assert [p.name for p in (tmp_path / "deep" / "net").iterdir()] == ["model.keras"]


def test_an_earlier_export_stands_until_the_new_one_is_whole(tmp_path):
    out = tmp_path / "net"
    for text in ("first", "second"):
        with output_folder.staging_folder(out) as folder:
            (folder / "card.md").write_text(text)
            assert not out.exists() or (out / "card.md").read_text() == "first"
    assert (out / "card.md").read_text() == "second"
    assert [p.name for p in tmp_path.iterdir()] == ["net"]


def test_what_a_kill_left_is_cleared_away(tmp_path):
    """Killed while filling, or between the two renames."""
    (tmp_path / ".net.unfinished" / "saved_model").mkdir(parents=True)
    (tmp_path / ".net.old").mkdir()
    (tmp_path / ".net.old" / "card.md").write_text("earlier")
    with output_folder.staging_folder(tmp_path / "net") as folder:
        assert {p.name for p in folder.iterdir()} == {"lock", "lock.holder"}
        assert (tmp_path / "net" / "card.md").read_text() == "earlier"
        (folder / "card.md").write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["net"]


def export(out):
    with output_folder.staging_folder(out):
        pass


def test_one_export_at_a_time(tmp_path):
    with output_folder.staging_folder(tmp_path / "net"):
        with pytest.raises(ValueError, match=r"another export to .*net is running \(process"):
            export(tmp_path / "net")
        assert (tmp_path / ".net.unfinished").is_dir()  # the second export has removed nothing
    assert (tmp_path / "net").is_dir()


def test_only_an_exports_folder_is_replaced(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"which holds notes\.txt"):
        output_folder.check(tmp_path)
    with pytest.raises(ValueError, match="must be a folder, got the file"):
        output_folder.check(tmp_path / "notes.txt")
    output_folder.check(tmp_path / "new")


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ValueError, match="cannot be written: Not a directory"),
        output_folder.staging_folder(tmp_path / "file" / "net"),
    ):
        pass


def test_only_files_of_the_same_weights_are_kept(tmp_path):
    (tmp_path / "model.keras").write_text("")
    record = {"weights_sha256": "a", "files": {"model.keras": {"n": 1}, "model.tflite": {"n": 2}}}
    (tmp_path / "export.json").write_text(json.dumps(record))
    assert output_folder.earlier_files(tmp_path, "a") == {"model.keras": {"n": 1}}  # the other is not there
    assert output_folder.earlier_files(tmp_path, "b") == {}
    assert output_folder.earlier_files(tmp_path / "nowhere", "a") == {}


def test_formats_are_chosen_by_name():
    assert [f.file for f in formats.choose("tflite,keras", "int8,none")] == [
        "model_int8.tflite",
        "model.tflite",
        "model.keras",
    ]
    with pytest.raises(ValueError, match="no format 'savedmodel'; did you mean 'saved_model'"):
        formats.choose("savedmodel", None)
    with pytest.raises(ValueError, match="no quantization 'int'"):
        formats.choose("tflite", "int")
    with pytest.raises(ValueError, match="--quantize is for TFLite"):
        formats.choose("keras", "int8")
    with pytest.raises(ValueError, match="--to must name at least one"):
        formats.choose(",", None)
