"""ClickHouse's HTTP interface before the engine in this process: as much of it as the worker and its tests use.

The engine is the real one (chdb-core); what is made here is the way to it: parameters, bodies, the client's compression,
errors. Each request has a connection of its own to the engine, so its settings and its database end with it.
"""

import base64
import os
import re
import signal
import struct
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import lz4.block
from chdb.state.sqlitelike import Connection
from clickhouse_cityhash.cityhash import CityHash128

DATA = "/var/lib/clickhouse"
BLOCK = 1 << 20
LZ4 = 0x82
# Parameters that are no settings.
OWN = {"query", "database", "default_format", "compress", "decompress", "user", "password", "query_id", "quota_key"}
INSERT = re.compile(r"\s*(INSERT\s+INTO\s.*?)\s+FORMAT\s+(\w+)\s*;?\s*\Z", re.IGNORECASE | re.DOTALL)
STATUS = {60: 404, 81: 404, 164: 403, 516: 403}


class Refused(Exception):
    """Text as the server words its errors."""


def refuse(code, text):
    raise Refused(f"Code: {code}. DB::Exception: {text}")


def checksum(data):
    number = CityHash128(data)
    return struct.pack("<QQ", number >> 64, number & (1 << 64) - 1)


def compressed(data):
    """The frames that a client with `compress=1` reads: a checksum, the method, two sizes, the block."""
    out = bytearray()
    for start in range(0, len(data), BLOCK):
        plain = data[start : start + BLOCK]
        packed = lz4.block.compress(plain, store_size=False)
        frame = struct.pack("<BII", LZ4, 9 + len(packed), len(plain)) + packed
        out += checksum(frame) + frame
    return bytes(out)


def decompressed(data):
    """What a client with `decompress=1` sent."""
    out, at = bytearray(), 0
    while at < len(data):
        if at + 25 > len(data):
            refuse(33, "Cannot read all data: a compressed block's head is cut")
        method, size, plain = struct.unpack_from("<BII", data, at + 16)
        frame = data[at + 16 : at + 16 + size]
        if method != LZ4 or size < 9 or len(frame) < size:
            refuse(271, "Cannot decompress: not a whole LZ4 block")
        if checksum(frame) != data[at : at + 16]:
            refuse(40, "Checksum doesn't match: corrupted data")
        out += lz4.block.decompress(frame[9:], uncompressed_size=plain)
        at += 16 + size
    return bytes(out)


def quoted(text):
    return text.replace("\\", "\\\\").replace("'", "\\'")


def answer(parameters, body):
    """Runs one statement; its output as bytes."""
    connection = Connection(DATA)
    try:
        if database := parameters.get("database"):
            connection.query("USE `" + database.replace("`", "\\`") + "`")
        for name, value in parameters.items():
            if name not in OWN and not name.startswith("param_"):
                connection.query(f"SET {name} = '{quoted(value)}'")
        insert = INSERT.match(parameters.get("query", ""))
        if insert:
            # The body is whole, so a client that went away in the midst of it has inserted nothing.
            stream = connection.send_insert(insert[1], insert[2])
            stream.append(body)
            stream.finish()
            return b""
        sql = parameters.get("query", "") + "\n" + body.decode()
        given = {name[6:]: value for name, value in parameters.items() if name.startswith("param_")}
        form = parameters.get("default_format", "TabSeparated")
        return bytes(connection.query(sql, form, params=given or None).bytes())
    finally:
        connection.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def do_GET(self):
        self.serve()

    def do_POST(self):
        self.serve()

    def serve(self):
        url = urlsplit(self.path)
        parameters = dict(parse_qsl(url.query, keep_blank_values=True))
        body = self.body()
        if url.path == "/ping" or (not parameters and not body):
            return self.reply(200, b"Ok.\n")
        try:
            self.log_in(parameters)
            if self.headers.get("Content-Type", "").startswith("multipart/"):
                refuse(48, "external tables are not implemented here")
            if parameters.get("decompress") == "1":
                body = decompressed(body)
            out = answer(parameters, body)
            self.reply(200, compressed(out) if parameters.get("compress") == "1" else out)
        except Exception as error:  # the engine's errors have no type of their own for inserts
            self.fail(str(error))

    def fail(self, said):
        # The engine's words, without those of the library around it.
        said = said[max(said.find("Code: "), 0) :]
        code = re.match(r"Code: (\d+)", said)
        code = int(code[1]) if code else 1002
        print(said, flush=True)
        self.reply(STATUS.get(code, 500), (said + "\n").encode(), [("X-ClickHouse-Exception-Code", str(code))])

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.exactly(int(self.headers.get("Content-Length") or 0))
        out = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            out += self.exactly(size)
            self.exactly(2)
        while self.rfile.readline().strip():
            pass
        return bytes(out)

    def exactly(self, size):
        data = self.rfile.read(size)
        if len(data) < size:
            raise ConnectionError("the client went away")
        return data

    def log_in(self, parameters):
        """`default` without a password is the only user."""
        user = self.headers.get("X-ClickHouse-User") or parameters.get("user") or "default"
        password = self.headers.get("X-ClickHouse-Key") or parameters.get("password") or ""
        basic = self.headers.get("Authorization", "").removeprefix("Basic ")
        if basic:
            user, _, password = base64.b64decode(basic).decode().partition(":")
        if (user, password) != ("default", ""):
            refuse(516, f"{user}: Authentication failed: password is incorrect, or there is no user with such name.")

    def reply(self, status, data, headers=()):
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(data)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()

    def log_request(self, code="-", size="-"):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, request, client_address):
        # A client that goes away is nothing to tell of.
        if not isinstance(sys.exc_info()[1], (ConnectionError, ValueError)):
            super().handle_error(request, client_address)


def main():
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    # Kept open: the engine lives as long as it has a connection.
    engine = Connection(DATA)
    print("ClickHouse", bytes(engine.query("SELECT version()", "TSV").bytes()).decode().strip(), flush=True)
    Server(("0.0.0.0", 8123), Handler).serve_forever()


if __name__ == "__main__":
    main()
