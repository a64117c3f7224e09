"""Imported by the process from which jobs are forked, so that they need not import these modules themselves."""

from __future__ import annotations

import json
from typing import get_args

from vault.bootstrap import shipped_policies
from vault.policy import store
from vault.policy.policy_set import PolicySet
from vault.storage import migrate

_FILES = PolicySet.from_folder(shipped_policies()).files
store._load(json.dumps(dict(_FILES), ensure_ascii=False))  # in the very words in which a vault keeps them
for _which in get_args(migrate.Which):
    migrate._head(_which)
