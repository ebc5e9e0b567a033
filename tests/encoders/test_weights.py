"""Weights: found by name or path, fetched from the first address that has the right file."""

import hashlib
import logging
import sys
import threading
import types
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from asd.challenge.download.policy import RetryPolicy
from asd.cli import main
from asd.encoders import load, weights
from asd.encoders.checkpoint import read_network
from asd.encoders.weights import (
    SUFFIXES,
    KnownWeights,
    add_weights,
    catalog,
    find_weights,
    get_weights,
)
from asd.errors import UserError

HASTY = RetryPolicy(timeout_s=5, retries=0, backoff_s=0)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("ASD_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def server():
    """Serves `files`; of addresses in `halves` only half a file comes."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            asked.append(self.path)
            content = files.get(self.path)
            self.send_response(200 if content else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            if content:
                self.wfile.write(content[: len(content) // 2] if self.path in halves else content)

    files, halves, asked = {}, set(), []
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{http.server_address[1]}"
    yield types.SimpleNamespace(url=url, files=files, halves=halves, asked=asked)
    http.shutdown()
    http.server_close()


@pytest.fixture
def known(server, monkeypatch, tiny_beats):
    """Put weights into the catalog, at addresses of the server."""

    digest = hashlib.sha256(tiny_beats.read_bytes()).hexdigest()

    def make(*paths, sha256=digest, **more):
        addresses = tuple(path if "://" in path else server.url + path for path in paths)
        entry = KnownWeights(
            "tiny", "BEATs", "Tiny.pt", addresses, "https://example.org/beats", "MIT", "noise",
            **{"sha256": sha256, **more},
        )  # fmt: skip
        monkeypatch.setattr(weights, "catalog", lambda: {"tiny": entry})
        return entry

    return make


def files_in(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_the_catalog_is_well_formed():
    for known in catalog().values():
        assert known.licence
        assert known.trained_on
        assert known.page.startswith("https://")
        assert known.addresses
        assert all(a.startswith(("https://", "hf://")) for a in known.addresses)
        assert known.file_name.endswith(SUFFIXES)
        assert not known.sha256 or len(known.sha256) == 64


def test_weights_of_the_recipes_are_in_the_catalog():
    from asd.systems.registry import find_system, recipe_names

    named = [find_system(n).defaults().frontend.parameters.get("weights") for n in recipe_names()]
    assert {name for name in named if name} <= catalog().keys()


def test_missing_weights_name_the_command_that_gets_them():
    with pytest.raises(UserError) as caught:
        load("mn04_as")
    assert str(caught.value) == (
        "weights mn04_as are not here yet; get them: asd weights get mn04_as"
    )
    with pytest.raises(UserError, match=r"'mn4_as' are unknown \(did you mean mn"):
        load("mn4_as")
    with pytest.raises(UserError, match=r"^some/where\.pt: no such file of weights"):
        load("some/where.pt")


def test_the_first_address_with_the_right_file_is_taken(server, known, tiny_beats, folder, caplog):
    known("/gone", "/wrong", "/right")
    server.files.update({"/wrong": b"<html>" * 99, "/right": tiny_beats.read_bytes()})
    with caplog.at_level(logging.INFO):
        path = get_weights("tiny", read_network, HASTY)
    assert path == folder / "tiny.pt" == find_weights("tiny")
    assert files_in(folder) == ["tiny.pt"]
    assert path.read_bytes() == tiny_beats.read_bytes()
    assert server.asked == ["/gone", "/wrong", "/right"]
    assert "404" in caplog.text
    assert "in place of" in caplog.text
    assert load("tiny").name == "tiny"


def test_what_is_here_is_not_fetched_again(server, known, tiny_beats):
    known("/right")
    server.files["/right"] = tiny_beats.read_bytes()
    get_weights("tiny", read_network, HASTY)
    get_weights("tiny", read_network, HASTY)
    assert server.asked == ["/right"]


def test_a_damaged_file_is_told_and_fetched_again(server, known, tiny_beats, folder):
    known("/right")
    server.files["/right"] = tiny_beats.read_bytes()
    folder.mkdir()
    (folder / "tiny.pt").write_bytes(tiny_beats.read_bytes()[:-9])
    with pytest.raises(UserError, match=r"has the SHA-256 .* get it again: asd weights get tiny"):
        load("tiny")
    get_weights("tiny", read_network, HASTY)
    assert load("tiny").dim == 16


def test_a_file_of_another_ending_counts_and_is_replaced(server, known, tiny_beats, folder):
    known("/right")
    server.files["/right"] = tiny_beats.read_bytes()
    folder.mkdir()
    (folder / "tiny.pth").write_bytes(tiny_beats.read_bytes())
    assert get_weights("tiny", read_network, HASTY) == folder / "tiny.pth"
    assert server.asked == []
    (folder / "tiny.pth").write_bytes(tiny_beats.read_bytes()[:-9])
    get_weights("tiny", read_network, HASTY)
    assert files_in(folder) == ["tiny.pt"]


def test_without_a_known_hash_the_file_must_be_an_encoder(server, known, folder):
    known("/page", sha256="")
    server.files["/page"] = b"<html>please sign in</html>"
    with pytest.raises(UserError) as caught:
        get_weights("tiny", read_network, HASTY)
    text = str(caught.value)
    assert text.startswith("weights tiny: no address gave the file (the last: ")
    assert text.endswith(
        "get Tiny.pt with a browser from https://example.org/beats, then: asd weights add tiny FILE"
    )
    assert files_in(folder) == []


def test_half_a_download_goes_on(server, known, tiny_beats, folder):
    content = tiny_beats.read_bytes()
    known("/half", bytes=len(content))
    server.files["/half"] = content
    server.halves.add("/half")
    with pytest.raises(UserError, match="no address gave the file"):
        get_weights("tiny", read_network, HASTY)
    (part,) = files_in(folder)
    assert part.startswith(".tiny.")
    assert part.endswith(".part")
    with pytest.raises(UserError, match="are not here yet"):
        find_weights("tiny")
    server.halves.clear()
    get_weights("tiny", read_network, HASTY)
    assert files_in(folder) == ["tiny.pt"]


def test_hugging_face_is_asked_by_its_own_library_where_it_is(
    server, known, tiny_beats, monkeypatch
):
    known("hf://someone/beats@abc/BEATs.pt")
    server.files["/someone/beats/resolve/abc/BEATs.pt"] = tiny_beats.read_bytes()
    monkeypatch.setattr(weights, "_HUB_URL", server.url)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # not installed
    get_weights("tiny", read_network, HASTY).unlink()
    assert server.asked == ["/someone/beats/resolve/abc/BEATs.pt"]
    calls = []

    def hf_hub_download(repo, file, revision):
        calls.append((repo, file, revision))
        return str(tiny_beats)

    hub = types.SimpleNamespace(hf_hub_download=hf_hub_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    get_weights("tiny", read_network, HASTY)
    assert calls == [("someone/beats", "BEATs.pt", "abc")]
    assert len(server.asked) == 1


def test_a_file_of_ones_own_gets_a_name(tiny_beats, folder, capsys):
    assert main(["weights", "add", "mine", str(tiny_beats)]) == 0
    assert load("mine").dim == 16
    assert main(["weights", "list"]) == 0
    shown = capsys.readouterr().out
    (line,) = (line for line in shown.splitlines() if line.startswith("mine "))
    assert "own file" in line
    assert shown.rstrip().endswith(f"folder: {folder}")
    assert main(["weights", "list", "mine", "mn04_as"]) == 0
    shown = capsys.readouterr().out
    assert hashlib.sha256(tiny_beats.read_bytes()).hexdigest() in shown
    assert catalog()["mn04_as"].sha256 in shown


@pytest.mark.parametrize(
    ("name", "file", "complaint"),
    [
        ("beats_iter3", "beats", r"has the SHA-256 .*, beats_iter3 has 8d1b"),
        ("../mine", "beats", "expected a name such as my_beats, without folder"),
        ("mine.pt", "beats", "expected a name such as my_beats, without folder"),
        ("mine", "page", "is damaged or no file of weights"),
        ("mine", "text", r"expected a name that ends in \.pt"),
        ("mine", "nothing", "no such file of weights"),
    ],
)
def test_what_cannot_be_added(tmp_path, tiny_encoders, folder, name, file, complaint):
    (tmp_path / "page.pt").write_text("<html>")
    (tmp_path / "notes.txt").write_text("hello")
    files = {**tiny_encoders, "page": tmp_path / "page.pt", "text": tmp_path / "notes.txt",
             "nothing": tmp_path / "nothing.pt"}  # fmt: skip
    with pytest.raises(UserError, match=complaint):
        add_weights(name, files[file], read_network)
    assert not folder.exists() or files_in(folder) == []


def test_a_file_that_is_called_an_archive_but_is_none_is_added(tmp_path, folder, tiny_encoders):
    file = tmp_path / "torchopenl3.pth.tar"
    file.write_bytes(tiny_encoders["openl3"].read_bytes())
    assert add_weights("openl3_env", file, read_network) == folder / "openl3_env.pth"
    assert load("openl3_env").network.kind == "OpenL3"
