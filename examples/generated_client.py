"""A client of Hongbao in Python, which is generated from the document of the service:

    make run                 # in another terminal: the service, with development calls
    pip install openapi-python-client
    echo 'package_name_override: hongbao_client' >config.yaml
    openapi-python-client generate --url http://127.0.0.1:8080/openapi.json --meta none \\
        --config config.yaml --output-path hongbao_client
    python3 generated_client.py [http://127.0.0.1:8080]

It repeats nothing: client.py shows which failures are to be repeated, and when.
"""

import sys
import time
import uuid

from hongbao_client import AuthenticatedClient, Client
from hongbao_client.api.development import create_token, top_up
from hongbao_client.api.envelopes import create_envelope, get_envelope, grab_envelope, open_envelope, pay_envelope
from hongbao_client.api.wallet import get_wallet, list_transfers
from hongbao_client.models import (
    CreateEnvelope,
    DevTokenRequest,
    EnvelopeKind,
    EnvelopeState,
    GroupAudience,
    Opened,
    OpenRequest,
    ProblemBody,
    ProblemCode,
    Ready,
    TopUpRequest,
    TransferKind,
)

URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8080"


def good(answer):
    """What was answered; every problem is an error."""
    if answer is None or isinstance(answer, ProblemBody):
        raise RuntimeError(answer)
    return answer


def client_of(user):
    request = DevTokenRequest(user_id=f"{user}-{uuid.uuid4()}", groups=["family"])
    token = good(create_token.sync(client=Client(URL), body=request)).token
    return AuthenticatedClient(URL, token)


def send_grab_and_open():
    """What Li sends and Wang gets."""
    li, wang = client_of("li"), client_of("wang")
    good(top_up.sync(client=li, body=TopUpRequest(amount_fen=10_000, id=uuid.uuid4())))

    # Li sends 88.88 yuan in 3 shares to the group.
    family = GroupAudience(type_="group", id="family")
    terms = CreateEnvelope(kind=EnvelopeKind.LUCKY, total_fen=8_888, shares=3, audience=family)
    made = good(create_envelope.sync(client=li, body=terms))
    paid = good(pay_envelope.sync(made.id, client=li))
    assert paid.state is EnvelopeState.ACTIVE, paid

    # Wang grabs it and opens it. Each outcome has a class of its own.
    grabbed = good(grab_envelope.sync(made.id, client=wang))
    assert isinstance(grabbed, Ready), grabbed
    opened = good(open_envelope.sync(made.id, client=wang, body=OpenRequest(ticket=grabbed.ticket)))
    assert isinstance(opened, Opened), opened
    detail = good(get_envelope.sync(made.id, client=wang))
    assert detail.mine.amount_fen == opened.amount_fen, detail

    # A problem has a type as well.
    problem = pay_envelope.sync(made.id, client=wang)
    assert isinstance(problem, ProblemBody) and problem.code is ProblemCode.NOT_SENDER, problem

    # The share is in Wang's balance within a second.
    until = time.monotonic() + 10
    while (balance_fen := good(get_wallet.sync(client=wang)).balance_fen) == 0 and time.monotonic() < until:
        time.sleep(0.1)
    assert balance_fen == opened.amount_fen, balance_fen
    page = good(list_transfers.sync(client=wang, limit=1))
    assert [transfer.kind for transfer in page.transfers] == [TransferKind.OPEN], page
    return opened.amount_fen


print(f"wang has opened {send_grab_and_open()} fen")
