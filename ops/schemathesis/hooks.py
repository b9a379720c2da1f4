"""Checks of our own beside those of schemathesis."""

import schemathesis


def fits_together(body, share_fen_max):
    total, shares = int(body["total_fen"]), int(body["shares"])
    within = shares <= total <= shares * share_fen_max
    return within and (body["kind"] == "lucky" or total % shares == 0)


@schemathesis.check
def an_envelope_is_refused_for_its_total_alone(ctx, response, case):
    """A body that the document allows is refused only where total and shares do not fit together."""
    if case.operation.label != "POST /v1/envelopes" or case.meta is None:
        return None
    if not case.meta.generation.mode.is_positive or response.status_code not in (201, 422):
        return None
    properties = case.operation.schema.raw_schema["components"]["schemas"]["CreateEnvelope"]["properties"]
    share_fen_max = properties["total_fen"]["maximum"] // properties["shares"]["maximum"]
    fits = fits_together(case.body, share_fen_max)
    problem = response.json()
    if fits != (response.status_code == 201) or (not fits and problem.get("field") != "total_fen"):
        raise AssertionError(f"{case.body} was answered {response.status_code}: {problem}")
    return None


@schemathesis.check
def every_answer_says_what_it_is(ctx, response, case):
    """An id that finds it in the log, and for every error a document that names its own status."""
    request_id = response.headers.get("x-request-id")
    assert request_id, "no x-request-id"
    if response.status_code >= 400:
        problem = response.json()
        assert problem["status"] == response.status_code, problem
        assert [problem["request_id"]] == request_id, problem
        retry_after = response.headers.get("retry-after")
        assert (retry_after is not None) == (response.status_code in (429, 503)), problem
    return None
