# A peer of Channel for tests: listens on the path given, answers every frame with the same frame and
# descriptors, written in pieces of random sizes (seed given). Frames of type 99 are answered by raw
# bytes, their payload, and the end of the connection. Prints "listening" when it does.
import array, os, random, socket, struct, sys

directory, name, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
chance = random.Random(seed)
os.chdir(directory)
server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
server.bind(name)
server.listen(8)
print("listening", flush=True)


def read_exactly(connection, length):
    data, fds = b"", []
    while len(data) < length:
        part, control, _, _ = connection.recvmsg(
            min(length - len(data), chance.choice([1, 7, 4096, 1 << 20])), socket.CMSG_SPACE(253 * 4))
        if not part:
            return None, fds
        for level, kind, value in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(value[: len(value) - len(value) % 4])
                fds += list(numbers)
        data += part
    return data, fds


def write_in_pieces(connection, data, fds):
    while data:
        size = chance.choice([1, 5, 13, 1000, 1 << 16, 1 << 22])
        piece = data[:size]
        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        sent = connection.sendmsg([piece], control)
        data, fds = data[sent:], []


def serve(connection):
    while True:
        header, fds = read_exactly(connection, 12)
        if header is None:
            return
        length, kind, _, _ = struct.unpack("<IHHI", header)
        payload, _ = read_exactly(connection, length) if length else (b"", [])
        if payload is None:
            return
        if kind == 99:
            connection.sendall(payload)
            return
        write_in_pieces(connection, header + payload, fds)
        for fd in fds:
            os.close(fd)


while True:
    connection, _ = server.accept()
    try:
        serve(connection)
    except OSError:
        pass  # the other side has closed
    connection.close()
