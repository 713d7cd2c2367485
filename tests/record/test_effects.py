"""Effects: intent before, done after, probed when interrupted, never silently repeated."""

from __future__ import annotations

import pytest

from gitops_nb.errors import ConflictError, NeedsAttention, Refused, TakenBack, UnavailableError
from gitops_nb.model import StepKind
from gitops_nb.record.effects import JournalEffects
from gitops_nb.record.fold import fold
from gitops_nb.record.journal import Journal


class Asked:
    """Lets everything begin until it is told not to."""

    refusal: Refused | None = None

    def confirm(self):
        if self.refusal is not None:
            raise self.refusal


class World:
    """Counts how often something happened, and can be cut off."""

    def __init__(self, tmp_path) -> None:
        self.authority = Asked()
        self.journal = Journal.open(tmp_path)
        self.journal.append("opened", run="r", steps=["apply"])
        self.times = 0

    def act(self):
        self.times += 1
        return {"times": self.times}

    def probe(self):
        return {"times": self.times} if self.times else None

    def perform(self, act=None, probe=None, kind=StepKind.EFFECT):
        effects = JournalEffects(
            self.journal, self.journal.append, step="apply", authority=self.authority
        )
        return effects.perform(
            "commit", kind=kind, sentence="commit", act=act or self.act, probe=probe or self.probe
        )

    @property
    def effect(self):
        return fold(self.journal.records).effects[0]


@pytest.fixture
def world(tmp_path):
    """A journal and a world that counts."""
    return World(tmp_path)


class Killed(BaseException):
    """Stands for the end of the process."""


def killed():
    raise Killed


def test_intent_comes_before_and_done_after(world):
    """The intent is on disk while the effect runs."""
    seen = []
    world.perform(act=lambda: seen.append(world.effect.is_open) or {"x": 1})
    assert seen == [True]
    assert world.effect.result == {"x": 1}
    assert not world.effect.is_open


def test_a_done_effect_is_not_done_again(world):
    """On resume its recorded result is returned."""
    assert world.perform() == world.perform() == {"times": 1}
    assert world.times == 1


def test_an_interrupted_effect_that_happened_is_adopted(world):
    """Killed after the effect and before its record: the probe finds it, nothing is repeated."""

    def act():
        world.act()
        killed()

    with pytest.raises(Killed):
        world.perform(act=act)
    assert world.effect.is_open
    assert world.perform() == {"times": 1}
    assert world.times == 1
    assert world.effect.adopted


def test_an_interrupted_effect_that_did_not_happen_is_done_once(world):
    """Killed before the effect: the probe says no, and it is done."""
    with pytest.raises(Killed):
        world.perform(act=killed)
    assert world.perform() == {"times": 1}
    assert not world.effect.adopted


def test_what_nobody_can_tell_needs_attention(world):
    """When the probe cannot reach the system, nothing is repeated and the effect stays in doubt."""
    with pytest.raises(Killed):
        world.perform(act=killed)

    def unreachable():
        raise UnavailableError("no answer")

    with pytest.raises(NeedsAttention):
        world.perform(probe=unreachable)
    assert world.times == 0
    assert fold(world.journal.records).in_doubt


def test_a_lost_reply_is_read_back(world):
    """An effect whose answer got lost is asked for before anybody says it failed."""

    def act():
        world.act()
        raise UnavailableError("reply lost")

    assert world.perform(act=act) == {"times": 1}
    assert world.times == 1
    assert world.effect.adopted


def test_a_refusal_leaves_no_doubt(world):
    """A conflict means that nothing was written; a later attempt may try again."""

    def act():
        raise ConflictError("moved")

    with pytest.raises(ConflictError):
        world.perform(act=act)
    assert not world.effect.is_open
    assert world.effect.failed == "moved"
    assert world.perform() == {"times": 1}


def test_an_idempotent_effect_is_repeated_without_asking(world):
    """Asking Argo CD to compare again does no harm."""
    with pytest.raises(Killed):
        world.perform(act=killed, kind=StepKind.IDEMPOTENT)
    assert world.perform(kind=StepKind.IDEMPOTENT, probe=killed) == {"times": 1}


def test_what_holds_settles_an_interrupted_effect(world):
    """A slice that finds the condition of an interrupted effect fulfilled says so; nothing stays in doubt."""
    with pytest.raises(Killed):
        world.perform(act=killed, kind=StepKind.IDEMPOTENT)
    effects = JournalEffects(world.journal, world.journal.append, step="apply", authority=Asked())
    effects.settle("commit", {"holds": True})
    effects.settle("never begun", {"holds": True})
    state = fold(world.journal.records)
    assert state.in_doubt == ()
    assert [effect.key for effect in state.effects] == ["commit"]
    assert world.effect.adopted


@pytest.mark.parametrize("is_taken_back", [False, True])
def test_what_another_runner_did_meanwhile_is_what_the_end_is_about(world, is_taken_back):
    """Refused in the middle since another one went on, and did it: recorded as found, so that the end says what is there."""

    def lost():
        world.times += 1
        raise Refused("another runner went on")

    def probe():
        if is_taken_back:
            raise TakenBack("taken back", found={"taken_back": "by hand"})
        return {"times": world.times}

    with pytest.raises(Refused, match="another runner went on"):
        world.perform(act=lost, probe=probe)
    assert (world.effect.failed, world.effect.adopted) == ("", True)
    assert world.effect.result == ({"taken_back": "by hand"} if is_taken_back else {"times": 1})


def test_a_refusal_where_nothing_is_there_is_void(world):
    """Nobody did it, so it surely did not happen."""

    def lost():
        raise Refused("the stop line")

    with pytest.raises(Refused):
        world.perform(act=lost)
    assert world.effect.failed == "the stop line"
