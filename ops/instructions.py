#!/usr/bin/env python3
"""Counts the instructions of an opening, without its credit, where the processor has no counters for it.

    ops/instructions.py BINARY [OPENINGS [CONNECTIONS]]

Starts `BINARY dev` under valgrind and switches its counting on for as long as the openings
last, each by another user, of envelopes of 500 shares; the workers rest meanwhile. Prints instructions an opening and the
mean batch. Compare medians of alternating runs, at batches of the same size."""
import http.client, json, os, re, selectors, signal, socket, subprocess, sys, tempfile, time, uuid

binary = sys.argv[1]
openings = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
connections = int(sys.argv[3]) if len(sys.argv) > 3 else 8
SHARES = 500

folder = tempfile.TemporaryDirectory()
counts = f"{folder.name}/counts"
command = ["valgrind", "-q", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={counts}",
           binary, "dev", "--listen", "127.0.0.1:0", "--data", f"{folder.name}/data"]
resting = {f"HONGBAO_WORKERS__{name}": "60000" for name in ["CREDIT_IDLE_MS", "IDLE_MS"]}
# Under valgrind requests are slow, which the log would say.
resting["HONGBAO_LOG__LEVEL"] = "warn"
service = subprocess.Popen(command, env=os.environ | resting, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
port = int(service.stdout.readline().rsplit(b":", 1)[1])
client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)


def call(method, path, body=None, token=None):
    headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
    client.request(method, path, json.dumps(body) if body is not None else None, headers)
    answer = client.getresponse()
    text = answer.read()
    assert answer.status < 300, (answer.status, text)
    return json.loads(text)


def token_of(user):
    return call("POST", "/v1/dev/token", {"user_id": user})["token"]


def count(switch):
    subprocess.run(["callgrind_control", "-i", switch, str(service.pid)], check=True, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)


sender, users = token_of("sender"), [token_of(f"user-{number}") for number in range(SHARES)]
call("POST", "/v1/dev/top-up", {"amount_fen": 100_000_000, "id": str(uuid.uuid4())}, sender)
def openings_of_an_envelope():
    envelope = call("POST", "/v1/envelopes", {"kind": "lucky", "total_fen": 50_000, "shares": SHARES}, sender)["id"]
    call("POST", f"/v1/envelopes/{envelope}/pay", None, sender)
    for user in users:
        body = json.dumps({"ticket": call("POST", f"/v1/envelopes/{envelope}/grab", None, user)["ticket"]})
        yield (f"POST /v1/envelopes/{envelope}/open HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
               f"authorization: Bearer {user}\r\ncontent-length: {len(body)}\r\n\r\n{body}").encode()


def send(stream, waiting):
    """The next request; none when all are sent."""
    request = next(waiting, None)
    if request is None:
        stream.close()
    else:
        selector.register(stream, selectors.EVENT_READ, request)
        stream.sendall(request)


opened, again, selector = 0, 0, selectors.DefaultSelector()
for _ in range(openings // SHARES):
    waiting = iter(list(openings_of_an_envelope()))
    count("on")
    for _ in range(connections):
        stream = socket.create_connection(("127.0.0.1", port))
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        send(stream, waiting)
    while selector.get_map():
        for key, _ in selector.select():
            answer = key.fileobj.recv(65_536)
            if b'"code":"busy"' in answer:
                again += 1
                key.fileobj.sendall(key.data)
                continue
            assert b'"outcome":"opened"' in answer, answer
            opened += 1
            selector.unregister(key.fileobj)
            send(key.fileobj, waiting)
    count("off")
client.request("GET", "/metrics")
metrics = client.getresponse().read().decode()
service.send_signal(signal.SIGTERM)
service.wait(60)
batches = int(re.search(r"^hongbao_open_batch_size_count (\d+)", metrics, re.M)[1])
total = int(re.search(r"^totals: (\d+)", open(counts).read(), re.M)[1])
print(f"{total / opened:.0f} instructions an opening, {opened} openings, {opened / batches:.1f} a batch, {again} asked again")
