"""What may be written as a version."""

from __future__ import annotations

import re

VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+/@:-]{0,199}")
"""Tags, digests, commit ids; nothing YAML could read as structure, whichever way it is quoted."""
