"""runbooks/trust.yaml: the one list of keys: people's, and those of the runners that sign the ledger."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal, Self, TypeVar

from pydantic import (
    AwareDatetime,
    Field,
    StrictBool,
    StringConstraints,
    field_validator,
    model_validator,
)

from gitops_nb.catalog.fields import Name, Strict, worded
from gitops_nb.catalog.krl import RevokedKeys, read_krl

LIVE_REALM, SANDBOX_REALM = "gitops-nb", "gitops-nb-sandbox"
PersonName = Annotated[
    str,
    StringConstraints(
        pattern=worded(
            r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}\Z",
            "a name of letters, digits and . _ @ + - that begins with a letter or digit, 100 characters at most",
        )
    ),
]
Alias = Annotated[
    str,
    StringConstraints(
        pattern=worded(
            r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}(\[bot\])?\Z",
            "a name of letters, digits and . _ @ + - that begins with a letter or digit, and may end with [bot]",
        )
    ),
]
PublicKey = Annotated[
    str,
    StringConstraints(
        pattern=worded(
            r"^(ssh-ed25519|sk-ssh-ed25519@openssh\.com|ecdsa-sha2-nistp(256|384|521)|"
            r"sk-ecdsa-sha2-nistp256@openssh\.com|ssh-rsa) [A-Za-z0-9+/]+=*( [^\n\r]*)?\Z",
            "the line of a public SSH key file: type (ssh-ed25519, ecdsa, ssh-rsa or an sk- key), key, and a comment if you like",
        )
    ),
]
RunnerPublicKey = Annotated[
    str,
    StringConstraints(
        pattern=worded(
            r"^ssh-ed25519 [A-Za-z0-9+/]+=*( [^\n\r]*)?\Z",
            "the line of a runner's public key, which begins with ssh-ed25519; `gitops-nb doctor` prints it",
        )
    ),
]


class _Valid(Strict):
    """A key with the time in which it counts."""

    valid_from: AwareDatetime | None = Field(
        default=None, description="First moment in which the key counts; open when left out."
    )
    valid_until: AwareDatetime | None = Field(
        default=None, description="First moment in which it no longer counts."
    )
    revoked_since: AwareDatetime | None = Field(
        default=None,
        description="When somebody else may have got the key; from then on nothing counts that it signed.",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.valid_from and self.valid_until and self.valid_until <= self.valid_from:
            raise ValueError("valid_until is not after valid_from")
        return self

    def counts_at(self, moment: datetime) -> bool:
        """Whether something signed at this moment counts."""
        return not (
            (self.valid_from is not None and moment < self.valid_from)
            or (self.valid_until is not None and moment >= self.valid_until)
            or (self.revoked_since is not None and moment >= self.revoked_since)
        )


class PersonKey(_Valid):
    """A person's SSH key."""

    key: PublicKey = Field(description="Public key, as in an allowed_signers file.")
    confirm: StrictBool = Field(
        default=False,
        description="True when the agent asks for each use (ssh-add -c); keys on hardware (sk-) always do.",
    )

    @property
    def asks_each_time(self) -> bool:
        """Whether a signature needs the person's hand, so that no program can make one unseen."""
        return self.confirm or self.key.startswith("sk-")


V = TypeVar("V", bound=_Valid)
EVER = datetime(1970, 1, 1, tzinfo=UTC)


def _judged(key: V, listed: RevokedKeys) -> V:
    text = str(getattr(key, "key"))  # noqa: B009  both kinds of key have one
    return key.model_copy(update={"revoked_since": EVER}) if listed.holds(text) else key


class TrustedPerson(Strict):
    """A person, under every name that systems know them by."""

    person: PersonName = Field(description="Login of the person; no wildcards.")
    aliases: tuple[Alias, ...] = Field(
        default=(),
        description="Other names of the same person: Git e-mail addresses, CI logins, bots that act for them.",
    )
    keys: tuple[PersonKey, ...] = Field(default=(), description="Keys that prove the person.")

    @property
    def names(self) -> frozenset[str]:
        """Every name of the person."""
        return frozenset((self.person, *self.aliases))

    def is_called(self, name: str) -> bool:
        """Whether this is one of their names; GitHub's logins and addresses know no upper and lower case."""
        return name.casefold() in {one.casefold() for one in self.names}


class RunnerKey(_Valid):
    """The key of a machine that runs runbooks; it never stands for a person."""

    name: Name = Field(description="What people call the runner.")
    key: RunnerPublicKey = Field(description="Its public Ed25519 key.")
    environments: tuple[Name, ...] = Field(
        default=(), description="Where it may run changes; empty: everywhere."
    )

    def is_trusted_in(self, environment: str) -> bool:
        """Whether its word counts in an environment."""
        return not self.environments or environment in self.environments


class Trust(Strict):
    """Whose signatures count."""

    realm: ClassVar[str] = LIVE_REALM
    """Begins the namespace of every signature: what was signed for the sandbox counts nowhere else."""

    kind: Literal["Trust"] = Field(default="Trust", description="What this file is.")
    persons: tuple[TrustedPerson, ...] = Field(default=(), description="People and their keys.")
    runners: tuple[RunnerKey, ...] = Field(
        default=(), description="Keys that sign the ledger, one per runner."
    )

    revoked: str = Field(
        default="",
        description="OpenSSH key revocation list (`ssh-keygen -k -f FILE KEY.pub`) in base64; its keys never count.",
    )

    @field_validator("revoked")
    @classmethod
    def _is_list(cls, value: str) -> str:
        text = "".join(value.split())
        try:
            content = base64.b64decode(text, validate=True)
        except ValueError as error:
            raise ValueError("not base64") from error
        read_krl(content)
        return text

    @model_validator(mode="after")
    def _without_revoked(self) -> Self:
        """Keys of the list never count, nor ever did: those of people and those of runners."""
        if not self.revoked:
            return self
        listed = self.revoked_keys
        persons = tuple(
            one.model_copy(update={"keys": tuple(_judged(key, listed) for key in one.keys)})
            for one in self.persons
        )
        object.__setattr__(self, "persons", persons)
        object.__setattr__(self, "runners", tuple(_judged(one, listed) for one in self.runners))
        return self

    @property
    def revoked_keys(self) -> RevokedKeys:
        """What the list names."""
        return read_krl(base64.b64decode(self.revoked))

    def person(self, name: str) -> TrustedPerson | None:
        """The person of this name or alias."""
        return next((p for p in self.persons if p.is_called(name)), None)

    def problems(self) -> list[tuple[tuple[str | int, ...], str]]:
        """Names and keys that stand in the file twice: nobody could tell whose they are."""
        found: list[tuple[tuple[str | int, ...], str]] = []
        names: dict[str, int] = {}
        keys: dict[str, str] = {}
        for index, one in enumerate(self.persons):
            for name in dict.fromkeys((one.person, *one.aliases)):
                if name.casefold() in names and names[name.casefold()] != index:
                    found.append((("persons", index, "person"), f"{name} stands here twice"))
                names[name.casefold()] = index
            for position, key in enumerate(one.keys):
                body = key.key.split(" ")[1]
                if body in keys:
                    where = ("persons", index, "keys", position, "key")
                    found.append((where, f"the same key as one of {keys[body]}"))
                keys[body] = one.person
        for index, runner in enumerate(self.runners):
            body = runner.key.split(" ")[1]
            if body in keys:
                found.append((("runners", index, "key"), f"the same key as one of {keys[body]}"))
            keys[body] = f"runner {runner.name}"
        return found


class SandboxTrust(Trust):
    """The invented people of a sandbox; what they sign proves nothing, and live mode refuses it."""

    realm: ClassVar[str] = SANDBOX_REALM
