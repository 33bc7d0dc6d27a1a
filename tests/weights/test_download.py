"""Fetching over a local HTTP server that misbehaves in every way: partial, wrong, HTML, slow, missing, twice."""

import hashlib
import http.server
import os
import re
import subprocess
import sys
import threading
import time
import urllib.request
from functools import partial

import pytest
from safetensors.numpy import save_file
from support import images

import keras_cnns
from keras_cnns.weights import download, loading, registry
from keras_cnns.weights.download import Unreachable, fetch, from_hub, opened

BODY = os.urandom(300_000)
SHA256, MD5 = hashlib.sha256(BODY).hexdigest(), hashlib.md5(BODY).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Counts requests; `misbehave` is (handler) -> whether it has answered itself."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked, self.misbehave, self.body = [], lambda handler: False, BODY

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/net.pth"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.asked.append(self.headers.get("Range"))
        if not self.server.misbehave(self):
            start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
            self.answer(206 if start else 200, self.server.body[start:])

    def answer(self, status, body, kind="application/octet-stream", length=None):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server():
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def plain(url, start, timeout=5.0):
    """Opens local http, which the package itself never does."""
    return opened(urllib.request.build_opener(), url, start, timeout)


def get(server, path, opener=plain, sha256=SHA256[:8], **options):
    return fetch(server.url, path, sha256=sha256, opener=opener, pause=0.01, **options)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "cache" / "net.pth"


def files(path):
    return sorted(p.name for p in path.parent.iterdir() if not p.name.endswith(".lock"))


def test_fetched_once_and_verified(server, path):
    assert get(server, path).read_bytes() == BODY
    assert get(server, path).read_bytes() == BODY
    assert server.asked == [None]
    assert files(path) == ["net.pth"]
    assert get(server, path.with_name("other.pth"), sha256="", md5=MD5).read_bytes() == BODY


def test_a_damaged_file_in_the_cache_is_fetched_again(server, path, caplog):
    get(server, path)
    path.write_bytes(BODY[:-1] + b"x")
    assert get(server, path).read_bytes() == BODY
    assert "is damaged; it is downloaded again" in caplog.text


def test_a_broken_connection_goes_on_where_it_stopped(server, path):
    def half(handler):
        if len(handler.server.asked) == 1:
            handler.answer(200, BODY[:100_000], length=len(BODY))
            handler.close_connection = True
            return True
        return False

    server.misbehave = half
    assert get(server, path).read_bytes() == BODY
    assert server.asked == [None, "bytes=100000-"]


def test_a_killed_download_goes_on(server, path):
    path.parent.mkdir()
    path.with_name("net.pth.part").write_bytes(BODY[:200_000])
    assert get(server, path).read_bytes() == BODY
    assert server.asked == ["bytes=200000-"]


def test_servers_without_ranges_start_again(server, path):
    path.parent.mkdir()
    path.with_name("net.pth.part").write_bytes(b"of another version" * 99)
    server.misbehave = lambda handler: handler.answer(200, BODY) is None
    assert get(server, path).read_bytes() == BODY


def test_a_part_of_another_version_is_thrown_away(server, path):
    path.parent.mkdir()
    path.with_name("net.pth.part").write_bytes(b"x" * 200_000)
    assert get(server, path).read_bytes() == BODY
    assert server.asked == ["bytes=200000-", None]
    path.unlink()
    path.with_name("net.pth.part").write_bytes(b"x" * 400_000)  # longer than the file

    def beyond(handler):
        return handler.headers.get("Range") and handler.answer(416, b"") is None

    server.misbehave = beyond
    assert get(server, path).read_bytes() == BODY


def test_a_wrong_hash_is_refused_and_not_kept(server, path):
    with pytest.raises(ValueError, match=r"is not net\.pth: its sha256 begins with [0-9a-f]{8}, not 00000000"):
        get(server, path, sha256="00000000")
    with pytest.raises(ValueError, match="its md5 begins with"):
        get(server, path, sha256="", md5="0" * 32)
    assert files(path) == []


def test_web_pages_are_refused(server, path):
    page = b"<!DOCTYPE html><html>Please log in</html>"
    for kind in ("text/html; charset=utf-8", "application/octet-stream"):
        server.misbehave = lambda handler, kind=kind: handler.answer(200, page, kind) is None
        with pytest.raises(ValueError, match="a web page"):
            get(server, path, sha256="")
        assert files(path) == []


def test_too_much_is_refused(server, path):
    with pytest.raises(ValueError, match="must give at most 1,000 bytes, got 300,000"):
        get(server, path, largest=1_000)

    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(BODY)
        return True

    server.misbehave = endless
    with pytest.raises(ValueError, match="gives more than 1,000 bytes"):
        get(server, path, largest=1_000)


def test_missing_files_are_asked_for_once(server, path):
    server.misbehave = lambda handler: handler.answer(404, b"<html>gone</html>", "text/html") is None
    with pytest.raises(Unreachable, match="404") as caught:
        get(server, path)
    assert len(server.asked) == 1
    for part in ("net.pth", server.url, f'weights="/.../{path.name}"', str(path)):
        assert part in str(caught.value), part
    assert "\n" not in str(caught.value)


def test_busy_and_slow_servers_are_tried_again(server, path):
    def first(handler):
        if len(handler.server.asked) == 1:
            return handler.answer(503, b"busy") is None
        if len(handler.server.asked) == 2:
            time.sleep(0.6)
            return True
        return False

    server.misbehave = first
    assert get(server, path, opener=partial(plain, timeout=0.3)).read_bytes() == BODY
    assert len(server.asked) == 3


def test_no_network(path):
    def none(url, start):
        raise urllib.error.URLError("no network")

    with pytest.raises(Unreachable, match=r"cannot be downloaded from https://x/net.pth \(no network\)"):
        fetch("https://x/net.pth", path, opener=none, pause=0, tries=2)


def test_only_https(server, path):
    with pytest.raises(ValueError, match="url must start with https://"):
        fetch(server.url, path)
    handler = download._HttpsOnly()
    request = urllib.request.Request("https://x/net.pth")
    with pytest.raises(ValueError, match=r"redirects to http://y/net\.pth, which is not https"):
        handler.redirect_request(request, None, 302, "Found", {}, "http://y/net.pth")
    assert (
        handler.redirect_request(request, None, 302, "Found", {}, "https://y/net.pth").full_url
        == "https://y/net.pth"
    )


# The module alone: importing the package would bring TensorFlow along, twice.
FETCHER = """
import runpy, sys, urllib.request
from pathlib import Path
download = runpy.run_path(sys.argv[4])
plain = lambda url, start: download["opened"](urllib.request.build_opener(), url, start)
print(len(download["fetch"](sys.argv[1], Path(sys.argv[2]), sha256=sys.argv[3], opener=plain).read_bytes()))
"""


def test_two_processes_fetch_once(server, path):
    def slowly(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(BODY)))
        handler.end_headers()
        for i in range(0, len(BODY), 50_000):
            handler.wfile.write(BODY[i : i + 50_000])
            time.sleep(0.05)
        return True

    server.misbehave = slowly
    command = [sys.executable, "-c", FETCHER, server.url, path, SHA256, download.__file__]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    two = [subprocess.Popen(command, **pipes) for _ in range(2)]
    for process in two:
        out, err = process.communicate(timeout=120)
        assert out.strip() == str(len(BODY)), err[-2000:]
    assert len(server.asked) == 1


# --- the hub ----------------------------------------------------------------------------------------------------


def hub(handler):
    """As much of the hub as its client asks for."""
    handler.send_response(200)
    handler.send_header("ETag", '"0123456789abcdef0123456789abcdef"')
    handler.send_header("X-Repo-Commit", "a" * 40)
    handler.send_header("Content-Length", str(len(handler.server.body)))
    handler.end_headers()
    if handler.command == "GET":
        handler.wfile.write(handler.server.body)
    return True


Handler.do_HEAD = Handler.do_GET


def test_files_of_the_hub(server, tmp_path):
    options = {"endpoint": f"http://127.0.0.1:{server.server_port}", "cache_dir": tmp_path}
    server.misbehave = hub
    first = from_hub("timm/resnet18.a1_in1k", "model.safetensors", **options)
    assert first.read_bytes() == BODY
    server.misbehave = lambda handler: handler.answer(404, b"") is None
    assert from_hub("timm/resnet18.a1_in1k", "model.safetensors", local_files_only=True, **options) == first
    with pytest.raises(Unreachable) as caught:
        from_hub("timm/other", "model.safetensors", **options)
    for part in ("model.safetensors of timm/other", "https://huggingface.co/timm/other/resolve/main", "weights="):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


# --- from a tag to a filled network -----------------------------------------------------------------------------


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """The cache is this test's; opening any URL fails."""
    monkeypatch.setenv(download.FOLDER, str(tmp_path))
    monkeypatch.setattr(loading.download, "fetch", partial(fetch, opener=_nowhere, tries=1))
    return tmp_path


def _nowhere(url, start):
    raise urllib.error.URLError("no network")


def test_a_tag_without_a_network_says_how_to_do_without(offline):
    with pytest.raises(ConnectionError) as caught:
        keras_cnns.ResNet50V1(weights="imagenet")
    entry = registry.find("imagenet", "resnet50_v1")
    for part in (entry.location, entry.file, str(offline / entry.file)):
        assert part in str(caught.value)


def test_a_file_put_into_the_cache_by_hand_is_taken_if_it_is_the_one(offline):
    entry = registry.find("imagenet", "resnet50_v1")
    (offline / entry.file).write_bytes(b"something else")
    with pytest.raises(ConnectionError, match=re.escape(entry.location)):
        keras_cnns.ResNet50V1(weights="imagenet")
    assert not (offline / entry.file).exists(), "a damaged file is not left to be taken"


def test_a_tag_is_fetched_and_loaded(offline, monkeypatch, tmp_path, caplog):
    """The whole way, on a network of the published row: logged with its licence, evaluated as measured."""
    caplog.set_level("INFO", logger="keras_cnns")
    source = keras_cnns.ResNet18(input_shape=(64, 64, 3))
    kept = tmp_path / "model.safetensors"
    keras_cnns.save_torch_weights(source, tmp_path / "own.safetensors")
    from safetensors.numpy import load_file

    save_file(load_file(tmp_path / "own.safetensors"), kept)
    asked = []
    monkeypatch.setattr(loading.download, "from_hub", lambda *names: asked.append(names) or kept)
    model = keras_cnns.ResNet18(weights="imagenet", input_shape=(64, 64, 3))
    assert asked == [("timm/resnet18.a1_in1k", "model.safetensors")]
    assert "timm/resnet18.a1_in1k: resnet18, top-1 73.164 % at 288, crop 1, bicubic, apache-2.0" in caplog.text
    x = images(1, 64, 64, 3)
    assert abs(model(x) - source(x)).numpy().max() < 1e-6
    keras_cnns.ResNet18(weights="timm/resnet18.fb_ssl_yfcc100m_ft_in1k", classes=2, input_shape=(64, 64, 3))
    assert "may not be used commercially: cc-by-nc-4.0" in caplog.text


def test_the_cache_is_where_the_pages_say(monkeypatch, tmp_path):
    monkeypatch.delenv(download.FOLDER, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert download.cache_folder() == tmp_path / "keras_cnns"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert download.cache_folder().parts[-2:] == (".cache", "keras_cnns")
