"""A reverse proxy that strips a prefix, as many are set up to."""

import http.client
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Handler(http.server.BaseHTTPRequestHandler):
    """Passes a request on without its prefix, and the answer back as it arrives."""

    behind = ""
    prefix = ""

    def _pass_on(self) -> None:
        if not self.path.startswith(self.prefix + "/"):
            self.send_error(404, "Outside the prefix")
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asking = http.client.HTTPConnection(self.behind, timeout=60)
        asking.putrequest(
            self.command, self.path.removeprefix(self.prefix),
            skip_host=True, skip_accept_encoding=True,
        )  # fmt: skip
        for name, value in self.headers.items():
            if name.lower() != "connection":
                asking.putheader(name, value)
        asking.endheaders(body or None)
        answer = asking.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            while piece := answer.read1(65536):
                self.wfile.write(piece)
                self.wfile.flush()
        except OSError:  # the client has left
            pass
        finally:
            asking.close()

    do_GET = do_HEAD = do_POST = do_OPTIONS = _pass_on  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def strips_prefix(behind: str, prefix: str) -> Iterator[str]:
    """Run the proxy in front of HOST:PORT; give its address, without a slash at the end."""
    handler = type("Handler", (_Handler,), {"behind": behind, "prefix": prefix})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{prefix}"
    finally:
        server.shutdown()
        server.server_close()
