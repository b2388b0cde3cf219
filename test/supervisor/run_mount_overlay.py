# Runs `cais-supervisor mount-overlay` as native/supervisor/PROTOCOL.md, "Start", orders, which node cannot: it has no
# SCM_RIGHTS. Arguments: the supervisor, the file with the record; then a command that is run in the mount's root with it
# as working directory. Prints what the command printed, or fails with the answer record as hexadecimal digits.
import array, fcntl, os, socket, subprocess, sys

supervisor, record, *command = sys.argv[1:]
ours, theirs = socket.socketpair()
answer_read, answer_write = os.pipe()
pid = os.fork()
if pid == 0:
    given = (os.open(record, os.O_RDONLY), answer_write, theirs.fileno())
    # Above the numbers that the program gets.
    moved = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in given]
    for source, target in zip(moved, (0, 3, 4)):
        os.dup2(source, target, inheritable=True)
    os.closerange(5, 256)
    os.execve(supervisor, [supervisor, "mount-overlay"], {})
theirs.close()
os.close(answer_write)
answer = b""
while part := os.read(answer_read, 65536):
    answer += part
os.waitpid(pid, 0)
if answer:
    sys.exit(answer.hex())
data, control, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(64))
fds = array.array("i")
for _, _, value in control:
    fds.frombytes(value[: len(value) - len(value) % 4])
assert len(data) == 1 and len(fds) == 1, (data, fds)
os.fchdir(fds[0])
subprocess.run(command, check=True)
