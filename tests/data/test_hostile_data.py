"""Data files made to do harm: refused with the reason, within 200 MB, and nothing appears outside."""

import gzip
import io
import json
import struct
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from training.data import sources
from training.errors import DataError

CHILD = """
import json, resource, sys
from pathlib import Path
import numpy, PIL.Image
from training.data import folder, idx, npz
from training.errors import DataError
if sys.argv[2:] == ["images"]:
    import tensorflow
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20,) * 2)
found = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    if path.suffix in (".png", ".gif", ".jpg"):
        found[path.name] = folder.examine(str(path))[1]
        continue
    try:
        (npz.read if path.suffix == ".npz" else idx.parse)(path)
        found[path.name] = "read"
    except DataError as error:
        found[path.name] = str(error)
print(json.dumps(found))
"""


def examined(folder, *what) -> dict:
    """File name -> what was said about it in a child that may use 200 MB."""
    command = [sys.executable, "-c", CHILD, folder, *what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def header(shape, kind="|u1") -> bytes:
    """The beginning of an .npy file that claims a shape."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": kind, "fortran_order": False, "shape": shape})
    return out.getvalue()


def test_arrays(tmp_path):
    def archive(name, members, kind=zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(tmp_path / name, "w", kind) as file:
            for member, data in members.items():
                file.writestr(member, data)

    archive("claims.npz", {"x.npy": header((10**6, 10**3, 10**3)), "y.npy": header((2,)) + b"\0\1"})
    zeros = header((2**28,)) + bytes(2**28)
    archive("zeros.npz", {"x.npy": zeros})
    archive("slip.npz", {"../../canary.npy": header((1,)) + b"x", "x.npy": header((1,)) + b"x"})
    np.savez(tmp_path / "pickle.npz", x=np.array([print], object))
    archive("headless.npz", {"x.npy": b"\x93NUMPY\x01\x00\xff\xff{"})
    (tmp_path / "claims-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + struct.pack(">III", 2**31, 2**10, 2**10))
    (tmp_path / "zeros-idx3-ubyte.gz").write_bytes(
        gzip.compress(b"\0\0\x08\x03" + struct.pack(">III", 2**12, 2**9, 2**9) + bytes(2**20))
    )
    said = examined(tmp_path)
    assert "x.npy says uint8 (1000000, 1000, 1000) but has 128 bytes" in said["claims.npz"]
    assert "x.npy decompresses from" in said["zeros.npz"]
    assert said["slip.npz"] == "read", "members are read by name and never written"
    assert "allow_pickle" in said["pickle.npz"] or "Object arrays" in said["pickle.npz"]
    assert "no readable .npz" in said["headless.npz"]
    assert "its header says 2,251,799,813,685,248 bytes" in said["claims-idx3-ubyte"]
    assert "truncated; the header says 1,073,741,824 bytes" in said["zeros-idx3-ubyte.gz"]
    assert not list(tmp_path.parent.rglob("canary*"))


def test_images(tmp_path):
    """A PNG of 400 megapixels, a GIF of many large frames, a JPEG that claims 65,500 pixels a side."""
    Image.new("1", (20_000, 20_000)).save(tmp_path / "huge.png")
    frames = [Image.new("P", (5_000, 5_000), i) for i in range(6)]
    frames[0].save(tmp_path / "long.gif", save_all=True, append_images=frames[1:])
    small = io.BytesIO()
    Image.new("RGB", (8, 8)).save(small, "jpeg")
    data = bytearray(small.getvalue())
    place = data.index(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", 65_500, 65_500)
    (tmp_path / "claims.jpg").write_bytes(data)
    (tmp_path / "loop.png").symlink_to(tmp_path / "loop.png")
    (tmp_path / "page.png").write_text("<html>404</html>")
    (tmp_path / "empty.png").touch()
    said = examined(tmp_path, "images")
    assert said == {
        "huge.png": "more than 134,217,728 pixels",
        "long.gif": "5000x5000 6 times is more than 134,217,728 pixels",
        "claims.jpg": "more than 134,217,728 pixels",
        "loop.png": "Too many levels of symbolic links",
        "page.png": "no image inside",
        "empty.png": "empty file",
    }


@pytest.mark.parametrize("suffix", [".tar", ".zip", ".tar.gz", ".pkl", ".h5"])
def test_archives_are_not_unpacked(tmp_path, suffix):
    """Nothing here unpacks a tar or a zip: a data set in one is refused, whatever it holds."""
    path = tmp_path / f"data{suffix}"
    with tarfile.open(path, "w") as file:
        link = tarfile.TarInfo("../canary")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        file.addfile(link)
    with pytest.raises(DataError, match=r"a data file must be an \.npz archive"):
        sources.load(str(path))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
