"""Attacks on the tuning page: a real server, plain sockets, a websocket client. (The page: test_tuning.)"""
import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import until

pytest.importorskip("voila", reason="the tuning page needs voila: pip install 'bige[tune]'")
websocket = pytest.importorskip("websocket", reason="comes with jupyter_server")
V1 = "v1.kernel.websocket.jupyter.org"

# A kernel that says something binary four times a second, as the page does when a motion comes.
NOTEBOOK = """
import threading, time
from ipykernel.comm import Comm
comm = Comm(target_name="attack")
def talk():
    while True:
        comm.send({}, buffers=[b"x" * 64])
        time.sleep(.25)
threading.Thread(target=talk, daemon=True).start()
print("the page ran")
"""
SERVE = """
import sys, tempfile
from pathlib import Path
import bige.tuning_server as server
server.IDLE_S, server.LOOK_S = {idle}, 1
with tempfile.TemporaryDirectory() as folder:
    server.serve(server.write_app(Path(folder), {notebook!r}), {port}, {browser})
"""


class Served:
    """A server of the small notebook, in a process of its own."""
    def __init__(self, notebook: str = NOTEBOOK, idle: float = 600, browser: bool = False, **env: str):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        code = SERVE.format(idle=idle, notebook=notebook, port=self.port, browser=browser)
        self.process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
                                        stderr=subprocess.DEVNULL, env={**os.environ, **env})
        self.host = f"127.0.0.1:{self.port}"
        self.token = re.search(r"token=(\w+)", self.process.stdout.readline())[1]
        until(self.listens)

    def listens(self) -> bool:
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def ask(self, path: str, method: str = "GET", body=None, **headers: str) -> tuple[int, str, dict]:
        """Status, text and headers of an answer; `Host` and so on as given."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace"), dict(answer.getheaders())
        finally:
            connection.close()

    def visit(self, **headers: str) -> tuple[str, str]:
        """Kernel and cookie of a new page."""
        status, text, found = self.ask(f"/?token={self.token}", **headers)
        assert status == 200, text
        return re.search(r'"?kernelId"?: *"([0-9a-f-]{36})"', text)[1], found["Set-Cookie"].split(";")[0]

    def socket(self, kernel: str, cookie: str, protocols=(V1,), **more):
        return websocket.create_connection(f"ws://{self.host}/api/kernels/{kernel}/channels", timeout=60,
                                           cookie=cookie, subprotocols=list(protocols), **more)

    def kernels(self) -> int:
        """Processes that are kernels of this server."""
        found = 0
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, parent = path.read_text().rpartition(")")[2].split()[:2]
                command = (path.parent / "cmdline").read_bytes()
            except OSError:
                continue
            found += int(parent) == self.process.pid and state != "Z" and b"ipykernel" in command
        return found

    def memory_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024

    def answers(self) -> bool:
        return self.ask("/voila/static/voila.js")[0] == 403

    def close(self) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:       # a server that is frozen
            self.process.kill()


@pytest.fixture(scope="module")
def served():
    server = Served()
    yield server
    server.close()


@pytest.fixture(scope="module")
def visit(served):
    """Kernel and cookie of the owner's page."""
    return served.visit()


ADDRESSES = {"page": "/", "style": "/voila/static/voila.js",
             "template": "/voila/templates/lab/static/voila.js", "file": "/voila/files/bige-tune.ipynb",
             "login": "/login", "theme": "/voila/api/themes/x",
             "extension": "/voila/labextensions/anywidget/package.json", "kernel": "/api/kernels/{kernel}",
             "channels": "/api/kernels/{kernel}/channels", "nothing": "/x/../../etc/passwd"}


@pytest.mark.parametrize("address", ADDRESSES.values(), ids=list(ADDRESSES))
def test_nothing_is_answered_without_the_token(served, visit, address):
    address, before = address.format(kernel=visit[0]), served.kernels()
    for given in ("", "?token=", "?token=0", f"?token={served.token[:-1]}"):
        status, text, _ = served.ask(address + given)
        assert status == 403 and "open the address that bige tune printed" in text
    assert served.ask(address, Cookie=visit[1][:-3] + "abc")[0] == 403
    for method in ("POST", "DELETE", "PUT", "OPTIONS"):
        assert served.ask(address, method, Origin=f"http://{served.host}")[0] == 403
    assert served.kernels() == before


def test_a_stranger_cannot_end_a_kernel(served, visit):
    assert served.ask(f"/voila/api/shutdown/{visit[0]}", "POST")[0] == 403
    assert served.ask(f"/api/kernels/{visit[0]}", "DELETE")[0] == 403
    # with the cookie, but from another site, or from none that is said
    assert served.ask(f"/voila/api/shutdown/{visit[0]}", "POST", Cookie=visit[1])[0] == 403
    for origin in ("https://clinic.example", "null", f"http://127.0.0.1:{served.port + 1}"):
        assert served.ask(f"/voila/api/shutdown/{visit[0]}", "POST", Cookie=visit[1], Origin=origin)[0] == 403
    assert json.loads(served.ask(f"/api/kernels/{visit[0]}", Cookie=visit[1])[1])["id"] == visit[0]


@pytest.mark.parametrize("host", ["clinic.example", "clinic.example:{port}", "127.0.0.1", "127.0.0.1:1", "",
                                  "127.0.0.1:{port}.clinic.example", "[::1]:{port}", "0.0.0.0:{port}"])
def test_another_name_of_the_host_is_refused(served, visit, host):
    host, before = host.format(port=served.port), served.kernels()
    for address in ("/", "/voila/static/voila.js", f"/api/kernels/{visit[0]}"):
        status, text, _ = served.ask(f"{address}?token={served.token}", Host=host, Cookie=visit[1])
        assert status in (400, 403) and "kernelId" not in text
    assert served.kernels() == before


def test_another_origin_is_refused(served, visit):
    before = served.kernels()
    others = ("https://clinic.example", f"https://{served.host}", f"http://localhost:{served.port}", "null")
    for origin in others:
        for address in ("/", "/voila/static/voila.js", f"/api/kernels/{visit[0]}"):
            assert served.ask(f"{address}?token={served.token}", Origin=origin)[0] == 403
        with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
            served.socket(*visit, origin=origin)
    assert served.kernels() == before


def test_the_refusal_does_not_repeat_markup(served):
    status, text, _ = served.ask("/", Origin="http://<script>alert(1)</script>")
    assert status == 403 and "<script>" not in text and "&lt;script&gt;" in text


def test_the_cookie_is_for_this_page_only(served):
    given = served.ask(f"/login?token={served.token}")[2]["Set-Cookie"]
    assert "HttpOnly" in given and "SameSite=Strict" in given and served.token not in given


def test_a_websocket_without_cookie_is_refused(served, visit):
    with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
        served.socket(visit[0], cookie=None)
    with pytest.raises(websocket.WebSocketBadStatusException, match="403"):
        served.socket(visit[0], cookie=visit[1][:-4])


@pytest.mark.parametrize("protocols", [(), ("v2.kernel.websocket.jupyter.org",), ("x" + V1,)],
                         ids=["none", "another", "longer"])
def test_a_websocket_of_the_older_protocol_cannot_freeze_the_server(served, visit, protocols):
    """Voila 0.5.13 reads the parts of its first binary message without an end."""
    try:
        old = served.socket(*visit, protocols=protocols)
    except websocket.WebSocketBadStatusException as error:
        assert error.status_code == 400
    else:
        time.sleep(2)           # a binary message is sent four times a second
        old.close(timeout=1)
    assert served.answers()


def test_the_page_s_own_websocket_is_open(served, visit):
    own = served.socket(*visit)
    assert any(b"comm_msg" in own.recv() for _ in range(50))
    own.close()
    assert served.answers()


def send_much(served, path: str, megabytes: int, *headers: str) -> tuple[int, bytes]:
    """Sends a body piece by piece until the server has enough: megabytes that it took, and its answer."""
    piece, taken, answer = b"x" * 2**20, 0, b""
    with socket.create_connection(("127.0.0.1", served.port), timeout=60) as s:
        own = [f"Host: {served.host}", f"Origin: http://{served.host}"]
        s.sendall("\r\n".join([f"POST {path} HTTP/1.1", *own, *headers, "", ""]).encode())
        try:
            for taken in range(megabytes):
                chunk = piece if "Content-Length" in headers[-1] else b"100000\r\n" + piece + b"\r\n"
                s.sendall(chunk)
            answer = s.recv(1000)
        except OSError:
            pass
    return taken, answer


@pytest.mark.parametrize("length", [f"Content-Length: {200 * 2**20}", "Transfer-Encoding: chunked"],
                         ids=["announced", "chunked"])
@pytest.mark.parametrize("given", ["", "?token={token}"], ids=["stranger", "owner"])
def test_an_upload_of_200_mb_is_refused_before_it_is_read(served, length, given):
    before = served.memory_mb()
    taken, answer = send_much(served, "/voila/api/shutdown/x" + given.format(token=served.token), 200, length)
    assert taken < 100 and b"204" not in answer and served.answers()
    assert served.memory_mb() < before + 50


def test_a_message_larger_than_a_model_ends_its_websocket_only(served, visit):
    from bige.tuning_server import MESSAGE_BYTES
    before, own = served.memory_mb(), served.socket(*visit)
    with pytest.raises((websocket.WebSocketException, OSError)):
        own.send_binary(b"x" * (200 * 2**20))
        while own.recv():
            pass
    assert served.answers() and served.memory_mb() < before + 2 * MESSAGE_BYTES / 2**20
    served.socket(*visit).close()


def test_twenty_visits_make_four_kernels(served, visit):
    from bige.tuning_server import MOST_KERNELS
    free = MOST_KERNELS - served.kernels()
    with ThreadPoolExecutor(20) as visitors:
        found = list(visitors.map(lambda _: served.ask(f"/?token={served.token}"), range(20)))
    assert sorted(status for status, *_ in found) == [200] * free + [503] * (20 - free)
    assert all("4 pages are open already" in text for status, text, _ in found if status == 503)
    assert served.kernels() == MOST_KERNELS
    own = {"Cookie": visit[1], "Origin": f"http://{served.host}"}
    for opened in (text for status, text, _ in found if status == 200):
        kernel = re.search(r'"?kernelId"?: *"([0-9a-f-]{36})"', opened)[1]
        assert served.ask(f"/voila/api/shutdown/{kernel}", "POST", **own)[0] == 204
    assert served.kernels() == MOST_KERNELS - free
    assert served.visit()           # there is room again


@pytest.mark.slow
def test_a_kernel_without_a_page_ends_and_one_with_a_page_stays():
    served = Served('print("quiet")', idle=4)
    try:
        left, (kernel, cookie) = served.visit(), served.visit()
        page = served.socket(kernel, cookie)
        until(lambda: served.ask(f"/api/kernels/{left[0]}", Cookie=cookie)[0] == 404)
        until(lambda: served.kernels() == 1)
        assert served.ask(f"/api/kernels/{kernel}", Cookie=cookie)[0] == 200
        page.close()
    finally:
        served.close()


def test_it_listens_on_this_machine_only(served):
    rows = [line.split() for family in ("tcp", "tcp6")
            for line in Path(f"/proc/net/{family}").read_text().splitlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A"]
    assert [a for a in listening if a.endswith(f":{served.port:04X}")] == [f"0100007F:{served.port:04X}"]


@pytest.mark.slow
def test_the_browser_is_opened_without_the_token_on_a_command_line(tmp_path):
    said = f'#!/bin/sh\necho "$@" > {tmp_path}/new && mv {tmp_path}/new {tmp_path}/said'
    (tmp_path / "browser").write_text(said)
    (tmp_path / "browser").chmod(0o755)
    served = Served(browser=True, BROWSER=f"{tmp_path / 'browser'} %s")
    try:
        until((tmp_path / "said").exists)
        page = Path((tmp_path / "said").read_text().strip().removeprefix("file://"))
        assert served.token in page.read_text() and served.token not in str(page)
        assert stat.S_IMODE(page.parent.stat().st_mode) == 0o700
        said = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
        assert not any(served.token.encode() in line for line in said)
    finally:
        served.close()
