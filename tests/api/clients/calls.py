"""Three calls through the client that openapi-python-client generates; runs in that tool's own environment."""

import json
import sys

from vault_client import AuthenticatedClient
from vault_client.api.customers import create_subject, search_subjects
from vault_client.api.reading import read_fields
from vault_client.models import (
    BatchReadRequest,
    BatchReadResult,
    NewSubject,
    NewSubjectExternalIds,
    NewSubjectProfile,
    Problem,
    ReadRequest,
    ReadResult,
    SearchRequest,
    SearchRequestMatch,
    SearchResult,
    WriteResult,
)

PURPOSE = "order-fulfilment"
FIELDS = ["name", "email.masked"]


def main(url, key):
    """Create a customer, read fields of one and of several, search, and read an unknown field."""
    with AuthenticatedClient(base_url=url, token=key) as client:
        profile = NewSubjectProfile.from_dict({"name": "Ada Lovelace", "email": "ada@example.org"})
        new = NewSubject(
            profile=profile, external_ids=NewSubjectExternalIds.from_dict({"shop": "4711"}), purpose=PURPOSE
        )
        created = create_subject.sync(client=client, body=new)
        assert isinstance(created, WriteResult), created
        one = ReadRequest(subject=created.id, fields=FIELDS, purpose=PURPOSE)
        read = read_fields.sync(client=client, body=one)
        assert isinstance(read, ReadResult), read
        several = BatchReadRequest(subjects=[created.id], fields=FIELDS, purpose=PURPOSE)
        batch = read_fields.sync(client=client, body=several)
        assert isinstance(batch, BatchReadResult), batch
        match = SearchRequestMatch.from_dict({"email": "ada@example.org"})
        outcome = search_subjects.sync(client=client, body=SearchRequest(match=match, fields=FIELDS, purpose=PURPOSE))
        assert isinstance(outcome, SearchResult), outcome
        wrong = ReadRequest(subject=created.id, fields=["shoe_size"], purpose=PURPOSE)
        unknown = read_fields.sync(client=client, body=wrong)
        assert isinstance(unknown, Problem), unknown
    return {
        "revision": created.revision,
        "read": read.fields.to_dict(),
        "batch": [result.fields.to_dict() for result in batch.results],
        "found": [result.subject == created.id for result in outcome.results],
        "problem": unknown.code,
    }


print(json.dumps(main(*sys.argv[1:])))
