"""Ids that nobody else has."""

from __future__ import annotations

import os
import re

from gateway.middleware.request_id import new_request_id


def test_an_id_is_32_hexadecimal_digits_and_comes_once() -> None:
    ids = [new_request_id() for _ in range(2000)]
    assert len(set(ids)) == 2000
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)


def test_a_fork_has_other_ids() -> None:
    new_request_id()
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, "".join(new_request_id() for _ in range(300)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    theirs = {told[at : at + 32] for at in range(0, len(told), 32)}
    assert len(theirs) == 300
    assert not theirs & {new_request_id() for _ in range(300)}
